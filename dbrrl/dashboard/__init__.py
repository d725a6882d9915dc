"""The dashboard: all runs below a folder in a browser, live, compared, steered and inspected.

Start it with `python -m dbrrl.dashboard runs/`; it needs the extra `dbrrl[dashboard]`.
"""
