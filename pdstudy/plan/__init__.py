"""Plans: the artifacts that a study needs, what of them exists in a workspace, and what the rest costs.

Nothing here makes an artifact (that is `pdstudy.launch`), and nothing imports torch: a plan takes less than a second.

- `builder.make_plan`, `study_plan.checked_plan`: the plan of a study, and of a study file
- `artifact`: corpora, runs, stores, losses of teachers, answers; `artifact_state.states`: how far each is now
- `cost`: prices of single things; `account`, `storage`: what a plan comes to
- `record`: the study's record in the workspace, from which reports are made
"""

from pdstudy.plan.account import account as account
from pdstudy.plan.account import totals as totals
from pdstudy.plan.artifact import AnswersArtifact as AnswersArtifact
from pdstudy.plan.artifact import Artifact as Artifact
from pdstudy.plan.artifact import CorpusArtifact as CorpusArtifact
from pdstudy.plan.artifact import RunArtifact as RunArtifact
from pdstudy.plan.artifact import StoreArtifact as StoreArtifact
from pdstudy.plan.artifact import TeacherLossArtifact as TeacherLossArtifact
from pdstudy.plan.artifact_state import states as states
from pdstudy.plan.builder import make_plan as make_plan
from pdstudy.plan.plan import Plan as Plan
from pdstudy.plan.record import make_record as make_record
from pdstudy.plan.record import read_record as read_record
from pdstudy.plan.record import write_record as write_record
from pdstudy.plan.study_plan import checked_plan as checked_plan
