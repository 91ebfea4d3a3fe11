"""Where rules run: processes of their own, so that no rule can hold up, or take down, the node that follows it.

A rule's process is a fork of the node: it has the application's functions exactly as the node has them, whatever file,
notebook or test they were written in. It gets records as text over a socket pair and answers verdicts; it has no
database, no loop and no open file of the node's. It sets itself an alarm before each record, so the kernel ends it when
the time is up, whatever the rule is doing then and whether or not the node still lives.
"""
