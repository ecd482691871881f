"""For the tests of those who build on this package: needs numpy alone, no test runner and no model."""
