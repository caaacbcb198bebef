"""Programs that `leukocls bench` times in a process of their own: `python -m leukocls.cli.programs.NAME …`."""
