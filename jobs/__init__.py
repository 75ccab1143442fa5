"""Entry points: the job, its configuration, the command line."""
