"""How long tests wait for a condition."""

# Seconds. Long enough for a machine that does much else; whoever passes does not wait for it.
PATIENCE_S = 300.0
