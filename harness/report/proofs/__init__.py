"""What was proved: properties that hold, faults that are caught, fuzz campaigns."""
