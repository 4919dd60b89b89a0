//! Harness shared by the test binaries and the benchmarks.
