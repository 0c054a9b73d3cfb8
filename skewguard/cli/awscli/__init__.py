"""``skewguard awscli``: the plugin of the AWS CLI, set up in one command, for version 1 or 2."""
