"""Camera drivers, each in a child process of its own where its SDK may block for good."""
