"""The chart as helm renders it: linted, checked against the schemas of its kinds and by policies, and what it says.

KEDA's questions are put to a real PostgreSQL and a real Prometheus.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text, update

from service.settings import GatewaySettings
from store.database import migrate, open_engine
from store.jobs import JobStore
from store.settings import StoreSettings
from store.tables import jobs, tenants
from store.tenants import TenantStore
from tests.support.chart import CHART, ROOT, TOOLS, VALUES, helm, manifests, of_kind, pods, render, tool
from tests.support.events import queue
from workers.settings import WorkerSettings

SCHEMAS = ROOT / "tests" / "support" / "chart_schemas.py"

pytestmark = pytest.mark.slow
each = pytest.mark.parametrize("values", VALUES)


@cache
def rendered(values: str) -> list[dict[str, Any]]:
    return manifests(render(values))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is rendered of each file of values, in files."""
    made = tmp_path_factory.mktemp("rendered")
    for name in VALUES:
        (made / f"{name}.yaml").write_text(render(name))
    return made


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@each
def test_it_is_linted(values: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", VALUES[values])
    assert done.returncode == 0, done.stdout


def test_every_manifest_fits_the_schema_of_its_kind(folder: Path) -> None:
    tool("kubernetes-validate")
    done = run(TOOLS / "python", SCHEMAS, *(folder / f"{name}.yaml" for name in VALUES))
    assert done.returncode == 0, done.stdout + done.stderr
    # The check can fail: a field that is none, of Kubernetes' kinds and of KEDA's.
    wrong = (folder / "full.yaml").read_text().replace("runAsNonRoot", "runAsNobody").replace("rollout:", "rolout:")
    (folder / "wrong.yaml").write_text(wrong)
    done = run(TOOLS / "python", SCHEMAS, folder / "wrong.yaml")
    (folder / "wrong.yaml").unlink()
    (folder / "jobs-of-wrong.yaml").unlink()
    assert "'runAsNobody' was unexpected" in done.stdout
    assert "/spec/rolout is no field" in done.stdout


def test_no_policy_finds_fault_beyond_what_is_meant_so(folder: Path) -> None:
    checkov = tool("checkov")
    assert run(TOOLS / "python", SCHEMAS, *(folder / f"{name}.yaml" for name in VALUES)).returncode == 0
    exceptions = ROOT / "deploy" / "helm" / "checkov.yaml"
    done = run(checkov, "--config-file", exceptions, "--skip-download", "-d", folder)
    assert done.returncode == 0, done.stdout
    # Where the images' digests are given, what says so is not excepted.
    skipped = [rule for rule in yaml.safe_load(exceptions.read_text())["skip-check"] if rule not in IMAGES]
    files = [option for name in ("full", "jobs-of-full") for option in ("-f", folder / f"{name}.yaml")]
    done = run(checkov, "--framework", "kubernetes", "--compact", "--quiet", "--skip-download",
               "--skip-check", ",".join(skipped), *files)  # fmt: skip
    assert done.returncode == 0, done.stdout


IMAGES = {"CKV_K8S_15", "CKV_K8S_43"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("existingSecret=", "existingSecret"),
        ("gatway.replicas=2", "gatway"),
        ("workers.scaler=redis", "scaler"),
        ("config.shared.LAYERCUT_DATABASE_URL=postgresql://u:p@h/d", "LAYERCUT_DATABASE_URL"),
    ],
)
def test_values_that_are_none_are_refused_by_name(setting: str, said: str) -> None:
    done = helm("template", "r", CHART, "--values", VALUES["minimal"], "--set", setting)
    assert done.returncode != 0
    assert said in done.stderr


def test_without_pools_that_grow_it_needs_no_keda_and_no_operator() -> None:
    assert {one["apiVersion"].partition("/")[0] for one in rendered("minimal")} <= {
        "apps", "autoscaling", "networking.k8s.io", "policy", "v1",
    }  # fmt: skip


@each
def test_no_pod_is_root_writes_its_image_has_a_token_or_a_secret_in_the_open(values: str) -> None:
    found = list(pods(rendered(values)))
    assert found
    for name, template in found:
        spec = template["spec"]
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        # A Service named layercut would set LAYERCUT_PORT to its address.
        assert spec["enableServiceLinks"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            secret = [one for one in container["env"] if re.search("PASSWORD|SECRET|TOKEN|KEY|_URL$", one["name"])]
            assert all("secretKeyRef" in one["valueFrom"] for one in secret), name
            writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
            assert writable == {"/var/lib/layercut", "/var/cache/layercut", "/tmp"}
    assert of_kind(rendered(values), "Secret") == {}


@each
def test_each_process_is_given_settings_that_it_has(values: str) -> None:
    maps = of_kind(rendered(values), "ConfigMap")
    for name, template in pods(rendered(values)):
        [container] = template["spec"]["containers"]
        settings = WorkerSettings if container["name"] == "worker" else GatewaySettings
        known = {f"LAYERCUT_{field.upper()}" for field in settings.model_fields}
        given = {one["name"] for one in container["env"]}
        given |= {key for source in container["envFrom"] for key in maps[source["configMapRef"]["name"]]["data"]}
        assert {one for one in given if one.startswith("LAYERCUT_")} <= known, name


@each
def test_a_worker_has_time_to_leave_and_only_those_of_keda_leave_when_idle(values: str) -> None:
    for name, template in pods(rendered(values)):
        spec = template["spec"]
        [container] = spec["containers"]
        if container["name"] != "worker":
            continue
        environment = {one["name"]: one.get("value") for one in container["env"]}
        grace = float(environment["LAYERCUT_KILL_GRACE_SECONDS"])
        assert spec["terminationGracePeriodSeconds"] >= WorkerSettings(kill_grace_seconds=grace).leave_seconds
        scaled = name.startswith("ScaledJob/")
        assert ("LAYERCUT_IDLE_EXIT_SECONDS" in environment, spec["restartPolicy"]) == (
            (True, "Never") if scaled else (False, "Always")
        )
        assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_a_pod_of_a_pool_has_its_gpus_and_a_worker_and_a_port_for_each() -> None:
    scaled = of_kind(rendered("full"), "ScaledJob")
    workers = {name: one["spec"]["jobTargetRef"]["template"]["spec"] for name, one in scaled.items()}
    one, four = (workers[f"r-layercut-worker-{pool}"] for pool in ("h200", "a100-x4"))
    [single], [many] = one["containers"], four["containers"]
    assert single["command"] == ["layercut", "worker"]
    assert many["command"] == ["layercut", "worker", "--devices", "auto"]
    assert [container["resources"]["limits"]["nvidia.com/gpu"] for container in (single, many)] == ["1", "4"]
    assert [port["containerPort"] for port in many["ports"]] == [8001, 8002, 8003, 8004]
    assert "range(8001, 8005)" in many["livenessProbe"]["exec"]["command"][-1]
    assert one["nodeSelector"] == {"gpu": "h200"}
    assert four["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_an_upgrade_stops_no_worker_that_keda_started() -> None:
    for one in of_kind(rendered("full"), "ScaledJob").values():
        assert one["spec"]["rollout"] == {"strategy": "gradual"}
        assert one["spec"]["jobTargetRef"]["backoffLimit"] == 0


def test_the_gateway_knows_its_prefix_and_its_names() -> None:
    [spec] = [one for name, one in pods(rendered("full")) if name == "Deployment/r-layercut-gateway"]
    environment = {one["name"]: one.get("value") for one in spec["spec"]["containers"][0]["env"]}
    assert environment["LAYERCUT_ROOT_PATH"] == "/ml/layercut"
    [rule] = of_kind(rendered("full"), "Ingress")["r-layercut"]["spec"]["rules"]
    assert rule["http"]["paths"][0]["path"] == "/ml/layercut"
    names = environment["LAYERCUT_ALLOWED_HOSTS"].split(",")
    assert {"ml.example.org", "*.example.org", "r-layercut.ml.svc"} <= set(names)


def test_everything_is_denied_and_then_what_is_needed_allowed() -> None:
    policies = of_kind(rendered("full"), "NetworkPolicy")
    closed = policies["r-layercut-deny"]["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(closed)
    for name, template in pods(rendered("full")):
        assert closed["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items(), name
    ports = [port["port"] for rule in policies["r-layercut-egress"]["spec"]["egress"] for port in rule["ports"]]
    assert sorted(ports) == [53, 53, 443, 4318, 5432, 6379]
    [to_workers] = policies["r-layercut-worker"]["spec"]["ingress"]
    assert to_workers["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


def test_an_artifact_store_that_is_away_takes_no_gateway_out_of_the_service() -> None:
    [template] = [one for name, one in pods(rendered("full")) if name == "Deployment/r-layercut-gateway"]
    [gateway] = template["spec"]["containers"]
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/healthz"


@each
def test_what_a_gateway_fetches_fits_on_the_disk_that_its_pod_may_use(values: str) -> None:
    data = of_kind(rendered(values), "ConfigMap")["r-layercut-gateway"]["data"]
    [template] = [one for name, one in pods(rendered(values)) if name == "Deployment/r-layercut-gateway"]
    limit = template["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"]
    fetched, look = int(data["LAYERCUT_FETCHED_BYTES"]), int(data["LAYERCUT_LOOK_BYTES"])
    assert look < fetched < int(limit.removesuffix("Gi")) * 2**30


def test_scratch_on_the_node_is_asked_for_and_has_no_limit_to_be_evicted_at() -> None:
    scaled = of_kind(rendered("full"), "ScaledJob")
    on_node, own = (
        scaled[f"r-layercut-worker-{pool}"]["spec"]["jobTargetRef"]["template"]["spec"] for pool in ("a100-x4", "h200")
    )
    assert on_node["volumes"][0] == {"name": "data", "emptyDir": {}}
    resources = on_node["containers"][0]["resources"]
    assert resources["requests"]["ephemeral-storage"] == "10Gi"
    assert "ephemeral-storage" not in resources["limits"]
    claim = own["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["resources"]["requests"]["storage"] == "500Gi"
    assert "ephemeral-storage" not in own["containers"][0]["resources"]["requests"]


def test_webhooks_and_what_else_goes_by_https_reach_no_private_address_unless_it_is_named() -> None:
    def https(*settings: str) -> dict[str, Any]:
        policies = of_kind(manifests(render("full", *settings)), "NetworkPolicy")
        found = [rule for rule in policies["r-layercut-egress"]["spec"]["egress"] if rule["ports"][0]["port"] == 443]
        webhooks = policies["r-layercut-gateway"]["spec"]["egress"]
        return {"https": found[0].get("to"), "webhooks": webhooks[0]["to"]}

    closed = https()
    assert closed["https"] == closed["webhooks"]
    blocks = {block["ipBlock"]["cidr"]: block["ipBlock"]["except"] for block in closed["https"]}
    assert blocks.keys() == {"0.0.0.0/0", "::/0"}, "of both kinds of addresses"
    # What is left out of a network must lie in it.
    assert all((":" in cidr) == (":" in left_out) for cidr, found in blocks.items() for left_out in found)
    assert {"10.0.0.0/8", "169.254.0.0/16"} < set(closed["https"][0]["ipBlock"]["except"])
    named = https("networkPolicy.egress.https.to[0].ipBlock.cidr=10.2.3.0/24")
    assert named["https"] == [{"ipBlock": {"cidr": "10.2.3.0/24"}}]


# What KEDA asks


def test_keda_may_have_another_url_than_the_pods() -> None:
    def keys(*settings: str) -> tuple[str, str]:
        found = manifests(render("full", *settings))
        [asked] = of_kind(found, "TriggerAuthentication")["r-layercut-database"]["spec"]["secretTargetRef"]
        [spec] = [one["spec"] for name, one in pods(found) if name == "Deployment/r-layercut-gateway"]
        [url] = [one for one in spec["containers"][0]["env"] if one["name"] == "LAYERCUT_DATABASE_URL"]
        return asked["key"], url["valueFrom"]["secretKeyRef"]["key"]

    assert keys() == ("database-url", "database-url")
    assert keys("workers.scalerDatabaseKey=scaler-url") == ("scaler-url", "database-url")


def query_of(values: list[dict[str, Any]], pool: str) -> str:
    [trigger] = of_kind(values, "ScaledJob")[f"r-layercut-worker-{pool}"]["spec"]["triggers"]
    asked: str = trigger["metadata"]["query"]
    return asked


@pytest.fixture
def count(postgres_url: str) -> Any:
    """Asks KEDA's question of a pool about a database with these jobs: (tenant, status) each."""
    name = "chart_keda"
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = open_engine(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    migrate(engine)
    TenantStore(engine).create("small", "small", StoreSettings().tenant_quotas.model_copy(update={"running_jobs": 2}))

    def ask(pool: str, *wanted: tuple[str, str]) -> int:
        for tenant, status in wanted:
            job = queue(JobStore(engine), {"model": "a/b", "task": "none"})
            values: dict[str, Any] = {"tenant": tenant, "status": status.removesuffix("-later")}
            if status.endswith("-later"):
                values["claimable_at"] = text("now() + interval '5 minutes'")
            with engine.begin() as connection:
                connection.execute(update(jobs).where(jobs.c.id == job.id).values(**values))
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM tenants")) == 2
            return int(connection.scalar(text(query_of(rendered("full"), pool))))

    yield ask
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def test_keda_counts_what_runs_and_what_may_run_and_fills_one_pool_after_the_other(
    count: Callable[..., int],
) -> None:
    """The first pool has one warm worker and 15 that KEDA starts; the second takes what is more than these sixteen."""
    assert count("h200") == 0, "of no jobs, and never less than none"
    waiting = ("default", "queued")
    assert count("h200", waiting, ("default", "running"), ("default", "cancelling")) == 2, "the warm one has the third"
    ended = [("default", status) for status in ("succeeded", "failed", "cancelled")]
    assert count("h200", *ended, ("default", "queued-later")) == 2, (
        "what has ended, and what waits after a lost attempt"
    )
    assert count("h200", *[("small", "queued")] * 5) == 4, "a tenant has no more at one time than it may run"
    assert count("a100-x4") == 0
    assert count("a100-x4", *[waiting] * 14) == 3
    assert tenants.c.running_jobs.nullable, "of a tenant without a quota all are counted"


def test_keda_asks_prometheus_the_same(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    asked = query_of(rendered("prometheus"), "gpu")
    # Two gateways say the same of one database, and one of them a moment later.
    series = [
        {"series": f'layercut_{name}{{instance="{gateway}"}}', "values": str(value)}
        for name, values in {"queue_depth": (3, 4), "running_jobs": (2, 2)}.items()
        for gateway, value in zip("ab", values, strict=True)
    ]
    expected = [{"expr": asked, "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 6}]}]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": expected}]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    done = run("promtool", "test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_notes_lead_to_the_first_key() -> None:
    done = helm("install", "r", CHART, "--namespace", "ml", "--dry-run=client", "--values", VALUES["full"])
    notes = done.stdout.partition("NOTES:")[2]
    assert "exec deployment/r-layercut-admin -- layercut keys create" in notes
    assert "curl https://ml.example.org/ml/layercut/readyz" in notes
    assert of_kind(rendered("full"), "Deployment")["r-layercut-admin"]["spec"]["replicas"] == 0
