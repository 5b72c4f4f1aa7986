"""ProjectService: projects, tasks, agents and what was learnt, in the database `projects`."""
