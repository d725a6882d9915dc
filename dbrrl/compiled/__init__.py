"""Acting and learning on the CPU by compiled programs: what is recorded, when it runs, and when it does not."""
