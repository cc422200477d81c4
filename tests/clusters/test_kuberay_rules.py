"""What the operators refuse, and what distil's files never have: tried on the files, and on copies with one defect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kuberaybed import FOLDERS, GONE, HEAD, LEARNERS, ROLLOUTS, Object, broken, needs_kubectl, pods, said
from kuberayrules import (
    cluster_complaints,
    job_complaints,
    name_complaints,
    pod_complaints,
    practice_complaints,
    queue_complaints,
)

pytestmark = needs_kubectl

Defect = tuple[str, Any, str]  # where, what, and what is said then

GROUP_DEFECTS: list[Defect] = [
    ("spec/rayVersion", GONE, "a token needs rayVersion"),
    ("spec/rayVersion", "2.51.1", "a token needs Ray 2.52.0"),
    (f"{HEAD}/template/spec/containers", [], "head: no container"),
    (f"{HEAD}/resources", {"CPU": "0"}, "head: resources in two places"),
    (f"{HEAD}/rayStartParams/labels", "role=head", "head: labels belong into `labels`"),
    (f"{ROLLOUTS}/labels/role", "for rollouts", "rollouts: role=for rollouts is no label"),
    (f"{ROLLOUTS}/labels/-role", "rollouts", "rollouts: -role=rollouts is no label"),
    (f"{ROLLOUTS}/minReplicas", 5, "rollouts: minReplicas is above maxReplicas"),
    (f"{LEARNERS}/minReplicas", -1, "learners: a negative number of pods"),
    (f"{LEARNERS}/idleTimeoutSeconds", -1, "learners: a negative idle timeout"),
    (f"{LEARNERS}/suspend", True, "learners: suspended, with an autoscaler"),
    (f"{HEAD}/template/spec/restartPolicy", "Always", "head: with autoscaler v2, a pod is not restarted"),
    (f"{LEARNERS}/template/spec/restartPolicy", "OnFailure", "learners: with autoscaler v2, a pod is not restarted"),
    (f"{HEAD}/template/spec/containers/0/env", [{"name": "RAY_enable_autoscaler_v2", "value": "1"}], "version in two places"),
    ("spec/autoscalerOptions/idleTimeoutSeconds", -60, "a negative idle timeout"),
    (f"{HEAD}/template/spec/containers/0/env", [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}], "Redis without"),
]
STATE_DEFECTS: list[Defect] = [
    ("spec/gcsFaultToleranceOptions/backend", GONE, "storage is that of rocksdb"),
    ("spec/gcsFaultToleranceOptions/redisAddress", "redis:6379", "redisAddress is of no use with rocksdb"),
    ("spec/gcsFaultToleranceOptions/storage/claimName", "mine", "a claim that exists has its own size"),
    (
        f"{HEAD}/template/spec/containers/0/env",
        [{"name": "RAY_gcs_storage", "value": "rocksdb"}],
        "sets RAY_gcs_storage itself",
    ),
    (
        f"{HEAD}/template/spec/containers/0/volumeMounts/1",
        {"name": "mine", "mountPath": "/data/gcs"},
        "mounts /data/gcs itself",
    ),
]
JOB_DEFECTS: list[Defect] = [
    ("metadata/name", "a" * 48, "name: 48 characters, and 47 are allowed"),
    ("metadata/name", "2nd-run", "name: lower-case letters"),
    ("spec/shutdownAfterJobFinishes", GONE, "ttlSecondsAfterFinished without shutdownAfterJobFinishes"),
    ("spec/ttlSecondsAfterFinished", -1, "a negative ttlSecondsAfterFinished"),
    ("spec/backoffLimit", -1, "a negative backoffLimit"),
    ("spec/submissionMode", "InteractiveMode", "backoffLimit, and no cluster of its own"),
    ("spec/submissionMode", "SidecarMode", "submitterPodTemplate, and no submitter's pod"),
    ("spec/clusterSelector", {"ray.io/cluster": "distil"}, "backoffLimit, and no cluster of its own"),
    ("spec/activeDeadlineSeconds", 0, "activeDeadlineSeconds is not above 0"),
    ("spec/runtimeEnvYAML", "env_vars: {", "runtimeEnvYAML is not YAML"),
    ("spec/rayClusterSpec", GONE, "neither rayClusterSpec nor clusterSelector"),
    ("spec/rayClusterSpec/rayVersion", GONE, "a token needs rayVersion"),
]
QUEUE_DEFECTS: list[Defect] = [
    ("metadata/labels", {}, "no queue"),
    ("spec/shutdownAfterJobFinishes", False, "a cluster that stays"),
    ("spec/clusterSelector", {"ray.io/cluster": "distil"}, "a cluster that exists"),
    ("spec/rayClusterSpec/enableInTreeAutoscaling", True, "an autoscaler"),
    ("spec/rayClusterSpec/workerGroupSpecs/0/groupName", "head", "a group with the name of the head's"),
]
POD = f"{ROLLOUTS}/template"
PRACTICE_DEFECTS: list[Defect] = [
    (f"{HEAD}/rayStartParams/num-cpus", GONE, "the head runs work"),
    ("spec/authOptions", GONE, "no token"),
    ("spec/authOptions/secretName", GONE, "no token"),
    ("spec/autoscalerOptions/idleTimeoutSeconds", GONE, "no idle timeout of 60 s"),
    ("spec/autoscalerOptions/securityContext", GONE, "autoscaler: may gain privileges"),
    ("spec/autoscalerOptions/resources/limits/memory", "2Gi", "autoscaler: requests and limits differ"),
    (f"{POD}/spec/securityContext/runAsNonRoot", GONE, "rollouts: may be root"),
    (f"{POD}/spec/securityContext/seccompProfile", GONE, "rollouts: no seccomp profile"),
    (f"{POD}/spec/automountServiceAccountToken", GONE, "rollouts: a token for the API server"),
    (f"{POD}/spec/hostNetwork", True, "rollouts: hostNetwork"),
    (f"{POD}/spec/volumes/1", {"name": "dev", "hostPath": {"path": "/dev"}}, "rollouts: a folder of its host"),
    (f"{POD}/spec/containers/0/securityContext/allowPrivilegeEscalation", True, "rollouts: may gain privileges"),
    (f"{POD}/spec/containers/0/securityContext/capabilities", {"drop": ["NET_RAW"]}, "rollouts: has capabilities"),
    (f"{POD}/spec/containers/0/resources/requests/memory", "1Gi", "rollouts: requests and limits differ"),
    (f"{POD}/spec/containers/0/resources", {}, "rollouts: requests and limits differ"),
    (f"{POD}/spec/containers/0/volumeMounts/0/mountPath", "/share", "rollouts: does not see the shared volume"),
    (f"{POD}/metadata/labels", {}, "rollouts: not selected by the network policies"),
    (f"{ROLLOUTS}/labels", GONE, "rollouts: no label to select it by"),
]


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_the_operators_accept_what_is_built(built: dict[str, list[Object]], folder: str) -> None:
    (data,) = built[folder]
    spec = data["spec"].get("rayClusterSpec", data["spec"])
    found = [*cluster_complaints(spec), *practice_complaints(spec)]
    for name, (metadata, pod) in pods(data).items():
        found += pod_complaints(name, metadata, pod)
    found += name_complaints(data["metadata"]["name"], 53) if data["kind"] == "RayCluster" else job_complaints(data)
    found += queue_complaints(data) if folder == "queue" else ()
    assert found == []


@pytest.mark.parametrize(
    ("folder", "rule", "defect"),
    [
        *(("cluster", lambda data: cluster_complaints(data["spec"]), defect) for defect in GROUP_DEFECTS),
        *(("long-lived", lambda data: cluster_complaints(data["spec"]), defect) for defect in STATE_DEFECTS),
        *(("job", job_complaints, defect) for defect in JOB_DEFECTS),
        *(("queue", queue_complaints, defect) for defect in QUEUE_DEFECTS),
        *(("cluster", lambda data: practice_complaints(data["spec"]), defect) for defect in PRACTICE_DEFECTS),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else "",
)
def test_an_operator_refuses_a_defect(
    built: dict[str, list[Object]], folder: str, rule: Callable[[Object], Iterator[str]], defect: Defect
) -> None:
    (good,) = built[folder]
    path, value, text = defect
    assert not any(text in line for line in rule(good))
    said(rule(broken(good, path, value)), text)
