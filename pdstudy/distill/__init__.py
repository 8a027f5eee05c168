"""What a student learns from a teacher: truncation, temperature, objective, the fused head, the logit store."""
