"""What a feature store costs, beside Feast and a bare Redis."""
