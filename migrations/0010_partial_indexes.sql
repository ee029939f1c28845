-- migrate: no-transaction
-- Indexes on what's active only, where that's a small part or all that's asked for. tests/plans/partial-indexes measures
-- what they gain, and what others would that aren't here.
-- Built while others write, so not in a transaction: psql -X -v ON_ERROR_STOP=1 -f FILE. Safe to run again.

-- The list of channels is of those that aren't archived, in this order.
CREATE INDEX CONCURRENTLY IF NOT EXISTS channels_active_idx ON channels (created_at, id) WHERE NOT is_archived;
-- What's going on in a channel: without it, all that ever went on there is read.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflows_active_idx ON workflows (channel_id, created_at, id) WHERE status IN ('pending', 'planning', 'executing');
