"""Real servers, real clients and shaped links for tests and measurements; see README.md beside this file."""
