"""vast.ai: its API, its records and errors, the labels of our instances, and the options of every ssh to one."""
