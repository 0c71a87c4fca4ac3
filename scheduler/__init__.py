"""What happens by itself: sweeping after the dead, later also schedules and retention."""
