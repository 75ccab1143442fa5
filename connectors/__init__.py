"""Where records come from and go to: files now, with keys taken in Java."""
