"""What every package stands on: paths, parameters, the contract, expressions, files and tables."""
