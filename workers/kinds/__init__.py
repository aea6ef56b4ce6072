"""One file for each row of TASK_KINDS: how rows of that kind are learnt, answered and judged."""
