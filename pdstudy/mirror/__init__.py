"""Runs shown elsewhere: a follower of their rows writes them to TensorBoard, W&B, Trackio or MLflow.

It reads run directories alone and changes nothing in them; what it has sent is noted beside them in the workspace.
Importing this loads none of these packages: `pdstudy.mirror.trackers` does when one is opened.
"""

from pdstudy.mirror.follower import Follower as Follower
from pdstudy.mirror.open_tracker import make_tracker as make_tracker
from pdstudy.mirror.run_rows import MirroredRun as MirroredRun
from pdstudy.mirror.run_rows import Row as Row
from pdstudy.mirror.trackers import TRACKERS as TRACKERS
