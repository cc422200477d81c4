"""The files of Ray's cluster launcher, as far as they can be checked without a cloud.

Ray's own validator looks at no node_config. So each cloud adds its own description of a machine: for AWS botocore's of
RunInstances, and a start of the cluster in moto; for Google its discovery document of Compute Engine, which comes with
google-api-python-client; for Azure the parameters of the template that Ray fills in. None of them knows prices, quotas, images,
or which sizes a region has, and no command of a file is run here.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore
import jsonschema
import moto
import pytest
import ray.autoscaler
import yaml
from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator
from clusterbed import shellcheck
from googleapiclient.discovery_cache import get_static_doc
from ray.autoscaler._private.util import prepare_config, validate_config

from distil.placement import PlacementConfig

ROOT = Path(__file__).resolve().parents[2]
CLOUDS = ["aws", "gcp", "azure"]
FILES = [*CLOUDS, "on_premise"]
VALUES = {
    "region": "eu-central-1",
    "image": "ami-0123456789abcdef0",
    "filesystem": "fs-0123456789abcdef0",
    "project": "mine",
    "filestore": "10.0.0.2",
    "subscription": "01234567-89ab-cdef-0123-456789abcdef",
    "location": "westeurope",
    "account": "mine",
    "user": "me",
    "head": "10.1.0.1",
    "workers": "10.1.0.2, 10.1.0.3",
}
Config = dict[str, Any]


def text(name: str) -> str:
    return (ROOT / f"clusters/{name}.yaml").read_text()


def filled(content: str) -> Config:
    return yaml.safe_load(re.sub(r"CHANGE-ME-([a-z]+)", lambda found: VALUES[found[1]], content))


def check(config: Config) -> Config:
    """Return the configuration as `ray up` completes it; raise what is wrong with it."""
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    check_machine = {"aws": run_instances, "gcp": instance, "azure": template, "local": lambda _: None}[
        config["provider"]["type"]
    ]
    for kind in config.get("available_node_types", {}).values():
        check_machine(kind["node_config"])
        PlacementConfig(labels=kind["labels"])  # what `learner.labels` and `rollouts.labels` accept
    return prepared


@functools.cache
def run_instances_shape() -> Any:
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def run_instances(node_config: Mapping[str, Any]) -> None:
    """Raise ParamValidationError for what no request that starts an instance has, and ValueError for an unknown choice."""
    request = {"MinCount": 1, "MaxCount": 1, **node_config}
    report = ParamValidator().validate(request, run_instances_shape())
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())
    unknown = list(choices(request, run_instances_shape()))
    if unknown:
        raise ValueError(f"no choice: {unknown}")


def choices(value: Any, shape: Any) -> Iterator[str]:
    """Yield the words that are not among those which a request's shape lists. botocore leaves this to the server."""
    if shape.type_name == "structure":
        for key, inner in value.items():
            yield from choices(inner, shape.members[key])
    elif shape.type_name == "list":
        for inner in value:
            yield from choices(inner, shape.member)
    elif getattr(shape, "enum", None) and shape.name != "InstanceType" and value not in shape.enum:
        yield str(value)


@functools.cache
def machines() -> jsonschema.Draft7Validator:
    """The schema of an instance in Google's discovery document, without unknown keys."""
    schemas = json.loads(get_static_doc("compute", "v1"))["schemas"]

    def strict(data: Any) -> Any:
        if isinstance(data, list):
            return [strict(inner) for inner in data]
        if not isinstance(data, dict):
            return data
        if "$ref" in data:
            return {"$ref": f"#/schemas/{data['$ref']}"}
        if data.get("type") == "any":
            return {}
        closed = {"additionalProperties": False} if "properties" in data and "additionalProperties" not in data else {}
        return {key: strict(inner) for key, inner in data.items() if key != "id"} | closed

    found = {name: strict(schema) for name, schema in schemas.items()}
    return jsonschema.Draft7Validator({"schemas": found, "$ref": "#/schemas/Instance"})


def instance(node_config: Mapping[str, Any]) -> None:
    machines().validate(node_config)


def template(node_config: Mapping[str, Any]) -> None:
    """Raise ValueError for what the template that Ray fills in for a machine on Azure has not, or has with another type."""
    path = Path(ray.autoscaler.__file__).parent / "_private/_azure/azure-vm-template.json"
    parameters = json.loads(path.read_text())["parameters"]
    types = {"string": str, "securestring": str, "int": int, "bool": bool, "object": dict, "array": list}
    by_ray = {"vmName", "adminUsername", "publicKey", "vmTags", "vmCount", "provisionPublicIp", "msi", "nsg", "subnet", "zones"}
    if set(node_config) != {"azure_arm_parameters"}:
        raise ValueError(f"unknown: {set(node_config)}")
    given = dict(node_config["azure_arm_parameters"])
    assert isinstance(given.pop("availability_zone", ""), str)  # Ray's own
    for key, value in given.items():
        if key not in set(parameters) - by_ray or type(value) is not types[parameters[key]["type"]]:
            raise ValueError(f"{key}={value!r}: no such parameter, or of another type")
    missing = {key for key, one in parameters.items() if "defaultValue" not in one} - by_ray - set(given)
    if missing:
        raise ValueError(f"missing: {missing}")
    if given.get("priority", "Regular") not in ("Regular", "Low", "Spot"):
        raise ValueError(f"priority={given['priority']}")


def is_spot(node_config: Mapping[str, Any]) -> bool:
    options = (
        node_config.get("InstanceMarketOptions", {}).get("MarketType"),
        node_config.get("scheduling", {}).get("provisioningModel"),
        node_config.get("azure_arm_parameters", {}).get("priority"),
    )
    return any(str(option).lower() == "spot" for option in options)


def complaints(config: Config) -> Iterator[str]:
    """Yield what is not as our own rules want it."""
    starts = [config["head_start_ray_commands"], config["worker_start_ray_commands"]]
    for _, start in starts:
        if not re.match(r"export RAY_AUTH_MODE=token; ulimit -n 65536; ray start ", start):
            yield f"without a token, or with too few files: {start}"
        if "0.0.0.0" in start:
            yield f"open to other hosts: {start}"
    if config["file_mounts"].get("~/.ray/auth_token") != "~/.ray/auth_token":
        yield "nodes get no token"
    for path in config["file_mounts"].values():
        if not path.startswith("~") and not (ROOT / path).exists():
            yield f"no {path}"
    if not any("/shared" in command for command in config["setup_commands"]):
        yield "no /shared"
    commands = [*config["setup_commands"], *config.get("head_setup_commands", []), *itertools.chain(*starts)]
    if said := shellcheck("\n".join(commands)):
        yield said
    kinds = config.get("available_node_types", {})
    if config["provider"]["type"] == "local":
        if "--num-cpus=0 --num-gpus=0 --labels=role=head" not in starts[0][1]:
            yield "the head runs work"
    elif kinds["head"]["resources"] != {"CPU": 0} or config["head_node_type"] != "head":
        yield "the head runs work"
    for name, kind in kinds.items():
        if kind["labels"] != {"role": name}:
            yield f"{name}: labels {kind['labels']}"
        if is_spot(kind["node_config"]) != (name == "rollout"):
            yield f"{name}: spot"
    if kinds and (kinds["learner"]["resources"].get("GPU", 0) < 1 or config["idle_timeout_minutes"] > 30):
        yield "learners without a GPU, or idle nodes that stay"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_valid_with_its_values(name: str) -> None:
    config = filled(text(name))
    prepared = check(config)
    assert list(complaints(config)) == []
    assert prepared["max_workers"] >= 2


@pytest.mark.parametrize("name", FILES)
def test_a_file_begins_with_its_use_its_three_values_and_its_command(name: str) -> None:
    content = text(name)
    head = content.partition("cluster_name:")[0]
    values = set(re.findall(r"CHANGE-ME-[a-z]+", content))
    assert len(values) == 3
    assert values == set(re.findall(r"CHANGE-ME-[a-z]+", head))
    assert "\n# When: " in head
    assert f"\n#   ray up clusters/{name}.yaml\n" in head


DEFECTS = [
    ("aws", "rollout: # ", "rollout: {}  # "),
    ("aws", "InstanceType: g6.2xlarge", "InstanceTyp: g6.2xlarge"),
    ("aws", "MarketType: spot", "MarketType: spott"),
    ("aws", "VolumeSize: 120", "VolumeSize: big"),
    ("aws", "idle_timeout_minutes", "idle_timeout_minute"),
    ("aws", "labels: {role: rollout}", "labels: {role: a rollout}"),
    ("aws", "labels: {role: rollout}", "label: {role: rollout}"),
    ("aws", "head_node_type: head", "head_node_type: heads"),
    ("gcp", "provisioningModel: SPOT", "provisioningModel: SPOTT"),
    ("gcp", "onHostMaintenance", "onHostMaintainance"),
    ("gcp", 'diskSizeGb: "100"', "diskSizeGB: '100'"),
    ("gcp", "machineType: g2-standard-8", "machineType: 2"),
    ("azure", "priority: Spot", "priority: spott"),
    ("azure", "vmSize: Standard_NC8as_T4_v3", "size: Standard_NC8as_T4_v3"),
    ("azure", "        osDiskSize: 100\n        priority", "        osDiskSize: big\n        priority"),
    ("azure", "      azure_arm_parameters:\n        vmSize: Standard_F", "      arm_parameters:\n        vmSize: Standard_F"),
    ("on_premise", "head_ip", "head"),
    ("on_premise", "ssh_user", "user"),
]


@pytest.mark.parametrize(("name", "good", "bad"), DEFECTS)
def test_a_defect_is_found(name: str, good: str, bad: str) -> None:
    content = text(name)
    assert content.count(good) == 1
    with pytest.raises((Exception, SystemExit)) as found:
        check(filled(content.replace(good, bad)))
    assert not isinstance(found.value, KeyError), "found by luck"


BROKEN_RULES = [
    ("RAY_AUTH_MODE=token; ulimit -n 65536;\n    ray start --head", "ulimit -n 65536;\n    ray start --head"),
    ("ulimit -n 65536;\n    ray start --address", "ray start --address"),
    ("ray start --head", "ray start --dashboard-host=0.0.0.0 --head"),
    ("~/.ray/auth_token: ~/.ray/auth_token", "~/.ray/auth-token: ~/.ray/auth_token"),
    ("requirements.lock: requirements.lock", "requirements.lock: requirement.lock"),
    ("role: head}", "role: rollout}"),
    ("resources: {CPU: 0}", "resources: {CPU: 2}"),
    ("GPU: 1", "GPU: 0"),
    ("  - chmod 600 ~/.ray/auth_token", "  - chmod 600 '~/.ray/auth_token'"),
]


@pytest.mark.parametrize(("good", "bad"), BROKEN_RULES)
@pytest.mark.parametrize("name", CLOUDS)
def test_a_broken_rule_is_found(name: str, good: str, bad: str) -> None:
    assert text(name).count(good) == 1
    assert list(complaints(filled(text(name).replace(good, bad))))


def test_spot_machines_collect_and_others_learn() -> None:
    for name, good in (
        ("aws", "InstanceMarketOptions: {MarketType: spot}"),
        ("gcp", "provisioningModel: SPOT, "),
        ("azure", "priority: Spot"),
    ):
        bad = text(name).replace(good, "" if name != "aws" else "Monitoring: {Enabled: false}")
        check(filled(bad))
        assert list(complaints(filled(bad))) == ["rollout: spot"]


@pytest.fixture
def ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cloud in this process, with the role that Ray makes for the head; it waits half a minute after making one."""
    monkeypatch.setenv("HOME", str(tmp_path))  # for the ssh key
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    with moto.mock_aws():
        iam = boto3.client("iam")
        iam.create_role(RoleName="ray-autoscaler-v1", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="ray-autoscaler-v1")
        iam.add_role_to_instance_profile(InstanceProfileName="ray-autoscaler-v1", RoleName="ray-autoscaler-v1")
        yield boto3.client("ec2", region_name=VALUES["region"])


@pytest.mark.slow
def test_on_aws_the_cluster_starts_and_only_ssh_is_open_to_the_world(ec2: Any) -> None:
    """What `ray up` and the head ask of AWS, answered by moto."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    group = ec2.create_security_group(GroupName="distil", Description="distil")["GroupId"]  # as the file's head says
    config = bootstrap_aws(check(filled(text("aws"))))
    provider = AWSNodeProvider(config["provider"], "distil")
    for name, kind in config["available_node_types"].items():
        assert kind["node_config"]["SecurityGroupIds"] == [group]
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
    rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    world = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in world] == [(22, 22, "tcp")]
    inside = [pair["GroupId"] for rule in rules if rule not in world for pair in rule["UserIdGroupPairs"]]
    assert inside == [group]
    found = [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]
    sizes = {one["InstanceType"]: one.get("InstanceLifecycle") for one in found}
    assert sizes == {"m7i.large": None, "c7i.4xlarge": "spot", "g6.2xlarge": None}


def test_the_head_on_azure_gets_the_packages_of_rays_own_defaults() -> None:
    (ours,) = filled(text("azure"))["head_setup_commands"]
    defaults = yaml.safe_load((Path(ray.autoscaler.__file__).parent / "azure/defaults.yaml").read_text())
    (theirs,) = defaults["head_setup_commands"]
    assert re.findall(r"\S+==\S+", ours) == re.findall(r"\S+==\S+", theirs)


def test_on_azure_only_ssh_is_open_to_the_world_and_the_network_has_the_names_of_the_file() -> None:
    """Ray's own template makes the network, or takes the one that is there."""
    path = Path(ray.autoscaler.__file__).parent / "_private/_azure/azure-config-template.json"
    network = json.loads(path.read_text())
    (group,) = [one for one in network["resources"] if one["type"].endswith("networkSecurityGroups")]
    inbound = [rule["properties"] for rule in group["properties"]["securityRules"]]
    assert [(rule["destinationPortRange"], rule["access"]) for rule in inbound] == [("22", "Allow")]
    config = filled(text("azure"))
    cluster = f"{config['cluster_name']}-{config['provider']['unique_id']}"
    for kind in ("vnet", "subnet"):
        assert network["variables"][f"{kind}Name"] == f"[concat('ray-', parameters('clusterId'), '-{kind}')]"
        assert f" ray-{cluster}-{kind}" in text("azure")
    assert f"--address-prefixes {config['provider']['subnet_mask']} --service-endpoints" in text("azure")
