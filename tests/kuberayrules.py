"""Rules that no schema has: those of KubeRay's operator and of Kueue, restated, and those of distil's own files.

Sources: ray-project/kuberay, ray-operator/controllers/ray/utils/validation.go; kubernetes-sigs/kueue,
pkg/controller/jobs/rayjob/rayjob_webhook.go; Kubernetes' Pod Security Standards (restricted).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Object = Mapping[str, Any]

_LABEL_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"
_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
_ON = ("1", "true")


def groups(spec: Object) -> dict[str, Object]:
    """Return the groups of a RayCluster's spec by their name."""
    return {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}


def pod_spec(group: Object) -> Any:
    """Return the spec of a group's pods."""
    return group["template"]["spec"]


def version(text: str) -> tuple[int, ...]:
    """Return a version as numbers."""
    return tuple(int(part) for part in text.split("."))


def environment(spec: Object) -> dict[str, Any]:
    """Return the environment variables of the head's Ray container."""
    containers = pod_spec(spec["headGroupSpec"])["containers"]
    return {one["name"]: one.get("value") for container in containers[:1] for one in container.get("env", ())}


def name_complaints(name: str, longest: int) -> Iterator[str]:
    """Yield what is wrong with a name, from which those of services are made."""
    if len(name) > longest:
        yield f"name: {len(name)} characters, and {longest} are allowed"
    if not _LABEL_NAME.fullmatch(name):
        yield "name: lower-case letters, digits and '-', and a letter first"


def cluster_complaints(spec: Object) -> Iterator[str]:
    """Yield what the operator refuses in the spec of a RayCluster."""
    yield from _token(spec)
    for name, group in groups(spec).items():
        yield from _group(name, group)
        yield from _scaling(name, group, spec)
    yield from _autoscaler(spec)
    yield from _fault_tolerance(spec)


def _token(spec: Object) -> Iterator[str]:
    if spec.get("authOptions", {}).get("mode") == "token":
        if not spec.get("rayVersion"):
            yield "a token needs rayVersion"
        elif version(spec["rayVersion"]) < (2, 52, 0):
            yield "a token needs Ray 2.52.0"


def _group(name: str, group: Object) -> Iterator[str]:
    parameters = group.get("rayStartParams", {})
    if not pod_spec(group)["containers"]:
        yield f"{name}: no container"
    if group.get("resources") and any(parameters.get(key) for key in _RESOURCES):
        yield f"{name}: resources in two places"
    if "labels" in parameters:
        yield f"{name}: labels belong into `labels`, not into rayStartParams"
    for key, value in group.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield f"{name}: {key}={value} is no label"


def _scaling(name: str, group: Object, spec: Object) -> Iterator[str]:
    is_v2 = spec.get("autoscalerOptions", {}).get("version") == "v2"
    least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31)
    if least < 0 or most < 0:
        yield f"{name}: a negative number of pods"
    if least > most:
        yield f"{name}: minReplicas is above maxReplicas"
    if group.get("idleTimeoutSeconds", 0) < 0:
        yield f"{name}: a negative idle timeout"
    for key in ("idleTimeoutSeconds", "priority"):
        if group.get(key) and not is_v2:
            yield f"{name}: {key} needs autoscaler v2"
    if not spec.get("enableInTreeAutoscaling"):
        return
    if group.get("suspend"):
        yield f"{name}: suspended, with an autoscaler"
    if is_v2 and pod_spec(group).get("restartPolicy", "Never") != "Never":
        yield f"{name}: with autoscaler v2, a pod is not restarted: restartPolicy is Never"


def _autoscaler(spec: Object) -> Iterator[str]:
    options, variables = spec.get("autoscalerOptions", {}), environment(spec)
    if not spec.get("enableInTreeAutoscaling") and variables.get(_AUTOSCALER_V2) in _ON:
        yield "the head's environment turns on an autoscaler that is off"
    if spec.get("enableInTreeAutoscaling") and "version" in options and _AUTOSCALER_V2 in variables:
        yield "the autoscaler's version in two places"
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "a negative idle timeout"


def _fault_tolerance(spec: Object) -> Iterator[str]:
    variables = environment(spec)
    options = spec.get("gcsFaultToleranceOptions")
    if options is None:
        if "RAY_REDIS_ADDRESS" in variables:
            yield "Redis without gcsFaultToleranceOptions"
        return
    storage = options.get("storage", {})
    if options.get("backend", "redis") == "redis":
        if storage:
            yield "storage is that of rocksdb, not of redis"
        return
    for key in ("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"):
        if key in options:
            yield f"{key} is of no use with rocksdb"
    if "claimName" in storage and {"size", "storageClassName", "accessModes"} & storage.keys():
        yield "a claim that exists has its own size, class and modes"
    if {"RAY_gcs_storage", "RAY_gcs_storage_path"} & variables.keys():
        yield "the operator sets RAY_gcs_storage itself"
    head = pod_spec(spec["headGroupSpec"])
    mounts = head["containers"][0].get("volumeMounts", ())
    if any(mount["mountPath"] == "/data/gcs" or mount["name"] == "gcs-storage" for mount in mounts):
        yield "the operator mounts /data/gcs itself"


def job_complaints(job: Object) -> Iterator[str]:
    """Yield what the operator refuses in a RayJob."""
    spec = job["spec"]
    yield from name_complaints(job["metadata"]["name"], 47)
    mode, retries = spec.get("submissionMode", "K8sJobMode"), spec.get("backoffLimit", 0)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend without shutdownAfterJobFinishes"
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield "a negative ttlSecondsAfterFinished"
    if retries < 0:
        yield "a negative backoffLimit"
    if retries > 0 and (mode == "InteractiveMode" or spec.get("clusterSelector")):
        yield "backoffLimit, and no cluster of its own"
    if mode == "SidecarMode" and "submitterPodTemplate" in spec:
        yield "submitterPodTemplate, and no submitter's pod"
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(key, 1) <= 0:
            yield f"{key} is not above 0"
    try:
        if not isinstance(yaml.safe_load(spec.get("runtimeEnvYAML", "{}")), dict):
            yield "runtimeEnvYAML is no mapping"
    except yaml.YAMLError:
        yield "runtimeEnvYAML is not YAML"
    if "rayClusterSpec" in spec:
        yield from cluster_complaints(spec["rayClusterSpec"])
    elif not spec.get("clusterSelector"):
        yield "neither rayClusterSpec nor clusterSelector"


def queue_complaints(job: Object) -> Iterator[str]:
    """Yield what Kueue refuses in a RayJob of a queue."""
    spec = job["spec"]
    if not job["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name"):
        yield "no queue"
    if not spec.get("shutdownAfterJobFinishes"):
        yield "a cluster that stays"
    if spec.get("clusterSelector"):
        yield "a cluster that exists"
    if spec["rayClusterSpec"].get("enableInTreeAutoscaling"):
        yield "an autoscaler"
    if any(group["groupName"] == "head" for group in spec["rayClusterSpec"]["workerGroupSpecs"]):
        yield "a group with the name of the head's"


def pod_complaints(name: str, metadata: Object, spec: Object) -> Iterator[str]:
    """Yield what distil's own files never have in a pod: more rights than the restricted standard, or resources that vary."""
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 1000:
        yield f"{name}: may be root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield f"{name}: no seccomp profile"
    if name != "head" and spec.get("automountServiceAccountToken") is not False:
        yield f"{name}: a token for the API server"
    if metadata.get("labels", {}).get("app.kubernetes.io/part-of") != "distil":
        yield f"{name}: not selected by the network policies"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{name}: {key}"
    if any("hostPath" in volume for volume in spec.get("volumes", ())):
        yield f"{name}: a folder of its host"
    for container in spec["containers"]:
        yield from container_complaints(name, container)


def container_complaints(name: str, container: Object) -> Iterator[str]:
    """Yield the same of a container."""
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield f"{name}: may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name}: has capabilities"
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or resources["requests"] != resources.get("limits"):
        yield f"{name}: requests and limits differ"


def practice_complaints(spec: Object) -> Iterator[str]:
    """Yield what distil's own files never have in a cluster."""
    head = spec["headGroupSpec"]
    if head.get("rayStartParams", {}).get("num-cpus") != "0":
        yield "the head runs work"
    options = spec.get("authOptions", {})
    if options.get("mode") != "token" or not options.get("secretName"):
        yield "no token"
    if spec.get("enableInTreeAutoscaling"):
        if spec["autoscalerOptions"].get("idleTimeoutSeconds") != 60:
            yield "no idle timeout of 60 s"
        yield from container_complaints("autoscaler", spec["autoscalerOptions"])
    for name, group in groups(spec).items():
        pods = pod_spec(group)
        yield from pod_complaints(name, group["template"].get("metadata", {}), pods)
        claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pods["volumes"]}
        mounts = {mount["mountPath"]: claims.get(mount["name"]) for mount in pods["containers"][0]["volumeMounts"]}
        if mounts.get("/shared") != "distil-shared":
            yield f"{name}: does not see the shared volume"
        if not group.get("labels", {}).get("role"):
            yield f"{name}: no label to select it by"
