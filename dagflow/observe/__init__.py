"""Floor 4: who listens to a run. One way: observers hear what was decided, and nothing they do comes back.

Reading order: `bus` (tells every observer, and drops one that raises), `progress` (tqdm bars), `log`
(failures in the user's log; a file with a line per task). `text` makes what tasks say harmless on screens
and in files, `inputs` opens sealed values for the log, `logfile` is the only place that knows loguru from
the inside.

tqdm and loguru take long to import, so every module here loads them where they are first used.
"""
