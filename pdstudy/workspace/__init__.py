"""The disk: where artifacts lie in a workspace, and the files of one run. Nothing here makes an artifact."""
