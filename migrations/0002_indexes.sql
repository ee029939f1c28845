-- migrate: no-transaction
-- The sixteen named indexes that carry the queries. /api/health/ready and the performance report know them by name.
-- Built while others write, so not in a transaction: psql -X -v ON_ERROR_STOP=1 -f FILE
-- Safe to run again; but an index that an interruption left invalid counts as one that exists: scripts/migrate drops it
-- first, by hand that's DROP INDEX CONCURRENTLY.
-- Trailing created_at, id columns give a list's order, so that a page is read and not sorted.

-- Names are looked up, and unique: one index does both, and errors speak of it by this name.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx_agents_name ON agents (name);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agents_type ON agents (agent_type, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agents_active ON agents (is_active, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agents_type_active ON agents (agent_type, is_active);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_channel_id ON messages (channel_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_created_at ON messages (created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_author_id ON messages (author_id, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_channel_created ON messages (channel_id, created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflows_status ON workflows (status);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflows_created_at ON workflows (created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflows_channel_id ON workflows (channel_id, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflows_status_created ON workflows (status, created_at);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflow_tasks_workflow_id ON workflow_tasks (workflow_id, order_index, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflow_tasks_status ON workflow_tasks (status, agent_id, order_index, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflow_tasks_order ON workflow_tasks (order_index);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflow_tasks_workflow_status ON workflow_tasks (workflow_id, status);

-- Beside the sixteen: the lists of a table that none of them is on.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_created_at_idx ON tasks (created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_status_created_at_idx ON tasks (status, created_at, id);
