"""What a job keeps: names of its state, the version chain, the learn log, snapshots."""
