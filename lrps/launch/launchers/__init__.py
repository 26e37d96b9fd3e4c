"""One class per launcher, registered by the name that `launch.launcher` of a config gives."""
