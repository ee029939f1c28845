-- What a new installation begins with: the orchestrator, five specialists, four channels.
-- Safe to run again: what's there already, under the same name, stays as it is.
-- created_at rises by a millisecond from row to row, so that lists show them in this order.

INSERT INTO agents (name, agent_type, persona, created_at, updated_at)
SELECT name, agent_type,
       jsonb_build_object('role', role, 'goal', goal, 'backstory', backstory, 'capabilities', to_jsonb(capabilities)),
       now() + position * interval '1 millisecond', now() + position * interval '1 millisecond'
FROM (VALUES
    (1, '@orchestrator', 'orchestrator', 'Orchestrator',
     'Turn a request into a workflow and see it through',
     'Knows what each specialist is good at, splits work into tasks and hands them out.',
     ARRAY['planning', 'delegation', 'coordination']),
    (2, '@backend', 'developer', 'Backend developer',
     'Build services that are correct, fast and easy to run',
     'Has carried APIs and databases in production, and writes the test first.',
     ARRAY['apis', 'databases', 'testing']),
    (3, '@frontend', 'developer', 'Frontend developer',
     'Build pages that anyone can use',
     'Starts from the person at the keyboard, and checks with a screen reader.',
     ARRAY['html', 'css', 'accessibility']),
    (4, '@qa', 'qa', 'Quality engineer',
     'Find what is wrong before users do',
     'Reads a specification for what it leaves out.',
     ARRAY['test_plans', 'exploratory_testing', 'automation']),
    (5, '@devops', 'devops', 'Platform engineer',
     'Keep what runs running, and make change safe',
     'Measures first, automates second, and writes down the rest.',
     ARRAY['deployment', 'observability', 'incident_response']),
    (6, '@analyst', 'analyst', 'Business analyst',
     'Say precisely what is wanted, and why',
     'Turns conversations into requirements that can be checked.',
     ARRAY['requirements', 'research', 'writing'])
) AS starting (position, name, agent_type, role, goal, backstory, capabilities)
ON CONFLICT (name) DO NOTHING;

INSERT INTO channels (name, topic, created_at, updated_at)
SELECT name, topic, now() + position * interval '1 millisecond', now() + position * interval '1 millisecond'
FROM (VALUES
    (1, 'general', 'Everything that has no place of its own'),
    (2, 'development', 'Building the product'),
    (3, 'operations', 'Running it'),
    (4, 'planning', 'What comes next')
) AS starting (position, name, topic)
ON CONFLICT (name) WHERE dm_agent_id IS NULL DO NOTHING;
