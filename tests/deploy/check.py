"""Checks for tests/deploy/run that no tool for the files in deploy/ offers.

Run this script in the folder to check, with a Python that has kubernetes-validate. That package also installs Kubernetes' schemas,
PyYAML and jsonschema. Prints a line for each error, and exits with 1 if there are errors.

  manifests FILE…  checks each document against Kubernetes' schemas, or SpinKube's in spinkube.schema.json
  agreement FILE…  checks whether the manifests, the rest of deploy/ and spin.toml agree
  files TO FILE…   writes the Job's ConfigMaps to their mount paths under TO, as Kubernetes does
"""

import json
import pathlib
import re
import sys
import tomllib

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
faults = []
# PostgreSQL's default of 100 connections, without the 3 that are reserved for superusers.
CONNECTIONS = 97


def fault(text):
    faults.append(text)


def documents(names):
    found = [document for name in names for document in yaml.safe_load_all(open(name)) if document]
    return [document for document in found if document.get("kind") != "Kustomization"]


def name_of(document):
    return f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"


def manifests(names):
    ours = json.loads((HERE / "spinkube.schema.json").read_text())
    checked = 0
    for document in documents(names):
        if document["kind"] in ours:
            for error in jsonschema.Draft202012Validator(ours[document["kind"]]).iter_errors(document):
                fault(f"{name_of(document)}: {'.'.join(map(str, error.absolute_path))}: {error.message}")
        else:
            try:
                kubernetes_validate.validate(document, "1.37", strict=True)
            except kubernetes_validate.ValidationError as error:
                fault(f"{name_of(document)}: {'.'.join(map(str, error.path))}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                fault(f"{name_of(document)}: there's no schema of apiVersion {document.get('apiVersion')}")
        checked += 1
    if checked < 12:
        fault(f"only {checked} documents were found, fewer than 12")
    print(f"{checked} documents")


def the(kind, name, found):
    fitting = [document for document in found if document["kind"] == kind and document["metadata"]["name"] == name]
    if len(fitting) != 1:
        fault(f"there are {len(fitting)} of {kind}/{name}, not one")
        sys.exit("\n".join(faults))
    return fitting[0]


def agreement(names):
    found = documents(names)
    spin = tomllib.load(open("spin.toml", "rb"))
    texts = {path: path.read_text() for path in pathlib.Path("deploy").rglob("*") if path.is_file()}
    app, scaler = the("SpinApp", "reznet-edge", found), the("HorizontalPodAutoscaler", "reznet-edge", found)
    job, examples = the("Job", "reznet-migrate", found), documents(["deploy/spinkube/secrets.example.yaml"])

    # spin.toml must declare every variable that a file sets as SPIN_VARIABLE_NAME, with --variable, or in a SpinApp manifest.
    for path, text in texts.items():
        for name in re.findall(r"SPIN_VARIABLE_([A-Z0-9_]+)", text) + re.findall(r"--variable[ =]([a-z0-9_]+)=", text):
            if name.lower() not in spin["variables"]:
                fault(f"{path}: spin.toml has no variable {name.lower()}")
    for variable in app["spec"]["variables"]:
        if variable["name"] not in spin["variables"]:
            fault(f"SpinApp: spin.toml has no variable {variable['name']}")
        if "value" in variable and spin["variables"][variable["name"]].get("secret"):
            fault(f"SpinApp: the secret variable {variable['name']} has its value in the manifest")

    # Every image must have a version, and all images with one name must have the same version.
    compose = yaml.safe_load(texts[pathlib.Path("deploy/compose/compose.yaml")])
    images = [service["image"] for service in compose["services"].values()]
    images += [container["image"] for container in job["spec"]["template"]["spec"]["containers"]]
    executors = [document for document in found if document["kind"] == "SpinAppExecutor"]
    images += [executor["spec"]["deploymentConfig"]["spinImage"] for executor in executors]
    for image in [*images, app["spec"]["image"]]:
        if not re.search(r"(:v?\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})$", image):
            fault(f"the image {image} isn't pinned to a version")
    for name in {image.split(":")[0] for image in images}:
        versions = {image for image in images if image.split(":")[0] == name}
        if len(versions) > 1:
            fault(f"two versions of an image: {sorted(versions)}")
    if not app["spec"]["image"].endswith(":" + spin["application"]["version"]):
        fault(f"SpinApp: the image {app['spec']['image']} isn't spin.toml's version {spin['application']['version']}")

    # Each reference in the manifests must name something that exists: a Secret's key, an executor, a Deployment or a path of the API.
    secrets = [document for document in found + examples if document["kind"] == "Secret"]
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in secrets}
    variables = app["spec"]["variables"]
    references = [variable["valueFrom"]["secretKeyRef"] for variable in variables if "valueFrom" in variable]
    containers = job["spec"]["template"]["spec"]["containers"]
    references += [entry["valueFrom"]["secretKeyRef"] for container in containers for entry in container["env"]]
    references += [{"name": app["spec"]["runtimeConfig"]["loadFromSecret"], "key": "runtime-config.toml"}]
    for reference in references:
        if reference["key"] not in secrets.get(reference["name"], {}):
            fault(f"no Secret has {reference['name']}/{reference['key']}")
    the("SpinAppExecutor", app["spec"]["executor"], found)
    if scaler["spec"]["scaleTargetRef"]["name"] != app["metadata"]["name"]:
        fault("HorizontalPodAutoscaler: its target isn't the SpinApp's Deployment")
    for path, operation in json.load(open("openapi.json"))["paths"].items():
        for probe in app["spec"]["checks"].values():
            if probe["httpGet"]["path"] == path and "get" in operation:
                probe["known"] = True
    for name, probe in app["spec"]["checks"].items():
        if "known" not in probe:
            fault(f"SpinApp: openapi.json has no GET {probe['httpGet']['path']}, which {name} asks for")

    # The examples must contain placeholders instead of real secrets.
    for document in examples:
        for key, value in document["stringData"].items():
            if "CHANGE-ME" not in value and key not in ("db_host", "db_read_host"):
                fault(f"secrets.example.yaml: {key} has another value than a placeholder")

    # The pool size that the performance report shows must equal the host's max_connections, and PostgreSQL must permit enough connections.
    values = {variable["name"]: variable.get("value") for variable in app["spec"]["variables"]}
    config = tomllib.loads(secrets["reznet-runtime-config"]["runtime-config.toml"])
    most = config["outbound_pg"]["max_connections"]
    whole = tomllib.load(open("runtime-config.toml", "rb"))["outbound_pg"]["max_connections"]
    environment = texts[pathlib.Path("deploy/systemd/environment.example")]
    for where, pool, connections in [
        ("SpinApp", values.get("db_pool_size"), most),
        ("compose", compose["services"]["api"]["environment"].get("SPIN_VARIABLE_DB_POOL_SIZE"), whole),
        ("systemd", (re.findall(r"^SPIN_VARIABLE_DB_POOL_SIZE=(\d+)$", environment, re.M) or [None])[0], whole),
    ]:
        if str(pool) != str(connections):
            fault(f"{where}: db_pool_size is {pool}, and max_connections is {connections}")
    replicas = scaler["spec"]["maxReplicas"]
    # During a rollout, a Deployment may run 25 % more pods by default (maxSurge), rounded up. Each pod is a host.
    hosts = replicas + -(-replicas // 4)
    if hosts * most > CONNECTIONS:
        fault(f"{hosts} hosts x {most} connections are more than the {CONNECTIONS} that PostgreSQL has by default")
    pooler = dict(re.findall(r"^(\w+) = (\S+)$", texts[pathlib.Path("deploy/compose/pgbouncer.ini")], re.M))
    if int(pooler["default_pool_size"]) > CONNECTIONS or int(pooler["max_client_conn"]) < whole:
        fault("pgbouncer.ini: it takes more than PostgreSQL has, or fewer clients than a host holds")

    # The ConfigMaps must contain every file that the migration Job needs.
    mounted = {key for document in found if document["kind"] == "ConfigMap" for key in document["data"]}
    if mounted:
        scripts = [pathlib.Path("scripts/migrate"), pathlib.Path("scripts/lib.sh")]
        requirements = pathlib.Path("requirements").glob("*.sql")
        for path in [*pathlib.Path("migrations").glob("*.sql"), *requirements, *scripts]:
            if path.name not in mounted:
                fault(f"kustomization.yaml: {path} isn't in a ConfigMap")
        for document in found:
            if document["kind"] == "ConfigMap" and len(json.dumps(document)) > 1_000_000:
                fault(f"{name_of(document)} is larger than the megabyte that Kubernetes allows")
    print(f"{len(texts)} files, {len(images) + 1} images, {len(app['spec']['variables'])} variables of the SpinApp")


def files(to, names):
    found = documents(names)
    pod = the("Job", "reznet-migrate", found)["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"] if "configMap" in volume}
    for mount in pod["containers"][0]["volumeMounts"]:
        if mount["name"] not in volumes:
            continue
        volume = volumes[mount["name"]]["configMap"]
        folder = pathlib.Path(to + mount["mountPath"])
        # Creates the same layout as Kubernetes does for a mounted ConfigMap: files in a versioned folder, and symlinks to them.
        version = folder / "..version"
        version.mkdir(parents=True)
        (folder / "..data").symlink_to("..version")
        for name, text in the("ConfigMap", volume["name"], found)["data"].items():
            (version / name).write_text(text)
            (version / name).chmod(volume.get("defaultMode", 0o644))
            (folder / name).symlink_to(f"..data/{name}")
    print(" ".join(pod["containers"][0]["command"]))


if sys.argv[1] == "files":
    files(sys.argv[2], sys.argv[3:])
else:
    {"manifests": manifests, "agreement": agreement}[sys.argv[1]](sys.argv[2:])
for line in faults:
    print(line)
sys.exit(bool(faults))
