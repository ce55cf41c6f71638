"""Command line: the methods of ``df.img`` as commands, for jobs that outlive a notebook.

`main`       entry point: exit codes, signals, messages on stderr
`parser`     the commands and their options, from the methods' signatures and docstrings
`arg_types`  types of options
`table_io`   tables in and out
"""
