"""clusters/kuberay as Kubernetes would get it. Each rule is tried on the files as they are, and on copies with one defect."""

from __future__ import annotations

import re
import shlex
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kuberaybed import (
    FOLDER,
    FOLDERS,
    GONE,
    HEAD,
    LEARNERS,
    ROLLOUTS,
    ROOT,
    VALUES,
    Object,
    broken,
    needs_crds,
    needs_kubectl,
    pods,
    said,
    schema_complaints,
    update_complaints,
)
from kuberayrules import groups, pod_spec

import distil
from distil.cli.common import read_overrides
from distil.cluster import matches
from distil.jobs.paths import Homes, homes
from distil.runconfig import RunConfig, load_config

pytestmark = needs_kubectl

NATIVE = "1.37"


# What kustomize makes


def test_each_folder_gives_its_objects_and_no_other(built: dict[str, list[Object]]) -> None:
    found = {folder: sorted(data["kind"] for data in objects) for folder, objects in built.items()}
    assert found == {
        "setup": [*["NetworkPolicy"] * 4, "PersistentVolumeClaim", "ServiceAccount"],
        "cluster": ["RayCluster"],
        "long-lived": ["RayCluster"],
        "job": ["RayJob"],
        "queue": ["RayJob"],
    }


def test_the_three_values_reach_every_object(built: dict[str, list[Object]]) -> None:
    text = yaml.safe_dump(built)
    assert not re.findall("CHANGE-ME|set-by-values", text)
    assert {data["metadata"]["namespace"] for objects in built.values() for data in objects} == {"research"}
    assert set(re.findall(r"image: (.*):", text)) == {VALUES["CHANGE-ME-image"]}
    (claim,) = [data for data in built["setup"] if data["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["storageClassName"] == "files"


def test_the_values_are_in_one_place() -> None:
    """But for the queue, which only the job of a queue has."""
    where = {
        name: [str(path.relative_to(FOLDER)) for path in sorted(FOLDER.rglob("*.yaml")) if name in path.read_text()]
        for name in VALUES
    }
    assert where == {name: ["values/kustomization.yaml"] for name in VALUES} | {"CHANGE-ME-queue": ["queue/kustomization.yaml"]}


def test_the_jobs_cluster_is_the_cluster(built: dict[str, list[Object]]) -> None:
    (cluster,), (job,), (queued,), (lasting,) = (built[name] for name in ("cluster", "job", "queue", "long-lived"))
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert queued["spec"]["rayClusterSpec"]["headGroupSpec"] == cluster["spec"]["headGroupSpec"]
    kept = lasting["spec"].pop("gcsFaultToleranceOptions")
    assert kept == {"backend": "rocksdb", "storage": {"size": "1Gi"}}
    assert lasting == cluster
    lasting["spec"]["gcsFaultToleranceOptions"] = kept


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_says_when_what_and_how(folder: str) -> None:
    lines = (FOLDER / folder / "kustomization.yaml").read_text().splitlines()
    comment = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert re.match(r"# When: .*# Change: .*values/kustomization\.yaml.*# Command: kubectl apply -k ", comment, re.DOTALL)
    assert f"kubectl apply -k clusters/kuberay/{folder}" in comment
    for file in (FOLDER / folder).glob("*.yaml"):
        assert file.read_text().startswith("# "), file


def test_the_versions_are_those_of_the_lock(cluster: Object) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert f"ray=={cluster['spec']['rayVersion']}\n" in lock
    images = {name: spec["containers"][0]["image"].rpartition(":")[2] for name, (_, spec) in pods(cluster).items()}
    own = distil.__version__
    assert images == {"head": f"{own}-cpu", "rollouts": f"{own}-cpu", "learners": f"{own}-cuda"}


# What the API server refuses


@needs_crds
@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_kuberays_definitions_accept_what_is_built(built: dict[str, list[Object]], folder: str) -> None:
    assert schema_complaints(built[folder][0]) == []


@needs_crds
@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("spec/enableInTreeAutoscalling", True, "enableInTreeAutoscalling"),
        (f"{LEARNERS}/maxReplica", 2, "maxReplica"),
        (f"{LEARNERS}/maxReplicas", GONE, "'maxReplicas' is a required property"),
        (f"{ROLLOUTS}/maxReplicas", "4", "'4' is not of type 'integer'"),
        (f"{ROLLOUTS}/template/spec/containers/0/volumeMount", [], "volumeMount"),
        (f"{ROLLOUTS}/template/spec/containers/0/resources/limits/memory", "16 Gi", "16 Gi"),
        (f"{HEAD}/rayStartParams/num-cpus", 0, "0 is not of type 'string'"),
        (f"{HEAD}/template/spec/containers/0/env", [{"name": "A"}, {"name": "A"}], "duplicate ('A',)"),
        ("spec/authOptions/mode", "tokens", "'tokens' is not one of"),
        ("spec/autoscalerOptions/version", "v3", "'v3' is not one of"),
        ("spec/gcsFaultToleranceOptions", {"backend": "rocks"}, "'rocks' is not one of"),
        ("spec/managedBy", "me", "the managedBy field value must be either"),
    ],
)
def test_a_cluster_with_a_defect_is_refused(cluster: Object, path: str, value: Any, text: str) -> None:
    said(schema_complaints(broken(cluster, path, value)), text)


@needs_crds
@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("spec/ttlSecondsAfterFinish", 300, "ttlSecondsAfterFinish"),
        ("spec/entrypointNumCpus", "1", "'1' is not of type 'number'"),
        ("spec/preRunningDeadlineSeconds", 0, "0 is less than the minimum"),
        ("spec/rayClusterSpec/headGroupSpec/template/spec/container", [], "container"),
        ("spec/submitterPodTemplate/spec/containers/0/securityContext/capabilities/dropp", ["ALL"], "dropp"),
        ("spec/deletionStrategy", {}, "deletionStrategy requires either BOTH"),
        (
            "spec/deletionStrategy",
            {"deletionRules": [{"policy": "DeleteSelf", "condition": {}}]},
            "requires either the JobStatus",
        ),
    ],
)
def test_a_job_with_a_defect_is_refused(job: Object, path: str, value: Any, text: str) -> None:
    said(schema_complaints(broken(job, path, value)), text)


@needs_crds
def test_what_may_not_be_changed_later(built: dict[str, list[Object]]) -> None:
    old = built["long-lived"][0]
    assert update_complaints(old, broken(old, f"{LEARNERS}/maxReplicas", 4)) == []
    new = broken(old, "spec/gcsFaultToleranceOptions/backend", "redis")
    said(update_complaints(old, new), "gcsFaultToleranceOptions.backend is immutable")


def native(data: Object) -> None:
    kubernetes_validate.validate(data, NATIVE, strict=True)


def test_the_schemas_of_kubernetes_accept_the_other_objects_and_the_pods(built: dict[str, list[Object]]) -> None:
    for data in built["setup"]:
        native(data)
    for folder in FOLDERS[1:]:
        for name, (metadata, spec) in pods(built[folder][0]).items():
            native({"apiVersion": "v1", "kind": "Pod", "metadata": metadata | {"name": name}, "spec": spec})


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("NetworkPolicy", "spec/policyType", ["Ingress"]),
        ("NetworkPolicy", "spec/policyTypes", "Ingress"),
        ("PersistentVolumeClaim", "spec/accessMode", ["ReadWriteMany"]),
        ("PersistentVolumeClaim", "spec/resources/requests", "100Gi"),
        ("ServiceAccount", "automountServiceAccountToken", "no"),
    ],
)
def test_another_object_with_a_defect_is_refused(built: dict[str, list[Object]], kind: str, path: str, value: Any) -> None:
    good = next(data for data in built["setup"] if data["kind"] == kind)
    with pytest.raises(kubernetes_validate.ValidationError):
        native(broken(good, path, value))


# What reaches what


def selects(selector: Object, labels: Object) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def passes(policies: list[Object], way: str, own: Object, other: Object | None, port: int) -> bool:
    """Return whether the policies let a pod be reached (`ingress`) or reach (`egress`); `other` None is no pod."""
    chosen = [policy["spec"] for policy in policies if selects(policy["spec"]["podSelector"], own)]
    chosen = [spec for spec in chosen if way.capitalize() in spec["policyTypes"]]
    for rule in (rule for spec in chosen for rule in spec.get(way, ())):
        peers = rule.get("from" if way == "ingress" else "to")
        is_peer = peers is None or (other is not None and any(selects(peer["podSelector"], other) for peer in peers))
        if is_peer and ("ports" not in rule or port in [one["port"] for one in rule["ports"]]):
            return True
    return not chosen


def test_pods_reach_each_other_and_little_else(built: dict[str, list[Object]]) -> None:
    policies = [data for data in built["setup"] if data["kind"] == "NetworkPolicy"]
    labels = {name: metadata["labels"] for name, (metadata, _) in pods(built["job"][0]).items()}
    labels = {name: given | {"ray.io/node-type": "head" if name == "head" else "worker"} for name, given in labels.items()}
    operator, stranger = {"app.kubernetes.io/name": "kuberay-operator"}, {"app": "web"}
    for name, own in labels.items():
        for other in labels.values():
            assert passes(policies, "ingress", own, other, 34567)
            assert passes(policies, "egress", own, other, 34567)
        assert not passes(policies, "ingress", own, stranger, 8265)
        assert not passes(policies, "egress", own, stranger, 5000)
        assert not passes(policies, "egress", own, None, 25)
        assert all(passes(policies, "egress", own, None, port) for port in (53, 443, 6443))
        assert passes(policies, "ingress", own, operator, 8265) == (name == "head")
        assert not passes(policies, "ingress", own, operator, 10001)
    without = [policy for policy in policies if policy["metadata"]["name"] != "distil-deny-all"]
    assert [len(without), len(policies)] == [3, 4]
    assert passes([], "ingress", labels["head"], stranger, 8265), "without a policy, everything reaches everything"


# What Ray and distil make of them


@pytest.fixture(scope="module")
def run(job: Object) -> RunConfig:
    """The configuration of the job's run."""
    return load_config(words(job)[0], read_overrides(tuple(word for word in words(job) if "=" in word)))


def words(job: Object) -> list[str]:
    """Return the arguments of the run's `train`."""
    found = shlex.split(job["spec"]["entrypoint"])
    assert found[: found.index("train")] == ["env", "-u", "OMP_NUM_THREADS", "python", "-m", "distil"]
    return found[found.index("train") + 1 :]


def test_rays_autoscaler_understands_the_groups(cluster: Object) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as read

    found = read(cluster)
    kinds = found["available_node_types"]
    assert found["idle_timeout_minutes"] == 1
    assert {name: kind["labels"] for name, kind in kinds.items()} == {
        "headgroup": {"role": "head"},
        "rollouts": {"role": "rollout"},
        "learners": {"role": "learner"},
    }
    assert {name: (kind["min_workers"], kind["max_workers"]) for name, kind in kinds.items()} == {
        "headgroup": (0, 0),
        "rollouts": (1, 4),
        "learners": (0, 2),
    }
    cpus = {name: (kind["resources"]["CPU"], kind["resources"].get("GPU", 0)) for name, kind in kinds.items()}
    assert cpus == {"headgroup": (0, 0), "rollouts": (8, 0), "learners": (8, 1)}


@pytest.mark.parametrize(("folder", "count"), [("job", "maxReplicas"), ("queue", "replicas")])
def test_the_jobs_run_has_room(built: dict[str, list[Object]], run: RunConfig, folder: str, count: str) -> None:
    spec = built[folder][0]["spec"]
    found = groups(spec["rayClusterSpec"])
    limits = {name: pod_spec(group)["containers"][0]["resources"]["limits"] for name, group in found.items()}
    assert isinstance(run.rollouts.num_workers, int), "with auto, no pod is added"
    cpus = found["rollouts"][count] * int(limits["rollouts"]["cpu"])
    assert cpus >= run.rollouts.num_workers + spec["entrypointNumCpus"]
    assert found["learners"][count] * int(limits["learners"]["nvidia.com/gpu"]) >= run.learner.num_learners
    assert run.learner.device == "cuda", "with auto, learners do not wait for GPUs"
    for labels, name in ((run.rollouts.labels, "rollouts"), (run.learner.labels, "learners")):
        assert [other for other, group in found.items() if labels and matches(labels, group["labels"])] == [name]


def test_the_jobs_run_continues_and_is_kept(job: Object, run: RunConfig) -> None:
    assert words(job)[1:4] == ["--run", "lunarlander", "--resume"]
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["entrypointNumCpus"] >= 1, "the command would run on the head"
    move = Homes(None)
    paths: list[str] = []
    homes(run, lambda key, path: (paths.append(move(key, path)), path)[1])
    move.require()
    assert len(paths) == 3
    assert all(path.startswith("/shared/") for path in paths)
    assert not set(job["spec"]["entrypoint"]) & set("'\"{}$;&|"), "two shells read it"
