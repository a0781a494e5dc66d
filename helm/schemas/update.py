"""Makes the schemas of this folder anew: what the chart's objects are held against, with nothing to fetch.

  update.py WHEEL CRD.yaml...

WHEEL is kubernetes-validate from PyPI (pip download --no-deps kubernetes-validate==1.37.0), which carries Kubernetes' own schemas.
The CRDs: ServiceMonitor, PodMonitor and PrometheusRule of github.com/prometheus-operator/prometheus-operator, ScaledObject and
TriggerAuthentication of github.com/kedacore/keda; their modules are on the Go proxy. Needs PyYAML.
"""
import json, os, re, sys, zipfile
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = ["1.30.0", "1.37.0"]  # the oldest that Chart.yaml allows, and the newest
KINDS = ["deployment-apps-v1", "statefulset-apps-v1", "job-batch-v1", "pod-v1", "service-v1", "serviceaccount-v1", "configmap-v1",
         "secret-v1", "poddisruptionbudget-policy-v1", "horizontalpodautoscaler-autoscaling-v2", "networkpolicy-networking-v1",
         "ingress-networking-v1"]
REF = "_definitions.json#/$defs/"


def write(path, schema):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(schema, f, indent=0, sort_keys=True, separators=(",", ":"))
        f.write("\n")


def terse(node, in_properties=False):
    """Without what says nothing about validity, and with references that need no server."""
    if isinstance(node, list):
        return [terse(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if not in_properties and (key in ("description", "$id", "default", "example") or key.startswith("x-kubernetes") and key not in
                                  ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")):
            continue
        if key == "$ref" and isinstance(value, str):
            out[key] = REF + value.split("#/$defs/")[1]
        else:
            out[key] = terse(value, key in ("properties", "patternProperties"))
    return out


def refs(node):
    return set(re.findall(r'#/\$defs/([^"]+)"', json.dumps(node)))


def kubernetes(wheel):
    with zipfile.ZipFile(wheel) as z:
        for version in VERSIONS:
            base = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
            definitions = json.loads(z.read(base + "_definitions.json"))["$defs"]
            kept, todo = {}, set()
            for kind in KINDS:
                schema = terse(json.loads(z.read(base + kind + ".json")))
                write(f"{HERE}/kubernetes-{version}/{kind}.json", schema)
                todo |= refs(schema)
            while todo:
                name = todo.pop()
                if name not in kept:
                    kept[name] = terse(definitions[name])
                    todo |= refs(kept[name])
            write(f"{HERE}/kubernetes-{version}/_definitions.json", {"$defs": kept})


def strict(node, top=True):
    """A CRD's server drops fields that it does not know; whoever wrote them meant them."""
    if isinstance(node, list):
        for n in node:
            strict(n, False)
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" and "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    if node.pop("x-kubernetes-int-or-string", False):
        node.pop("type", None)
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    for value in list(node.values()):
        strict(value, False)


def crds(files):
    for name in files:
        for crd in yaml.safe_load_all(open(name)):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                schema = terse(version["schema"]["openAPIV3Schema"])
                schema["properties"].update(apiVersion={"type": "string"}, kind={"type": "string"})
                strict({k: v for k, v in schema["properties"].items() if k != "metadata"})
                schema["additionalProperties"] = False
                kind, group = crd["spec"]["names"]["kind"].lower(), crd["spec"]["group"].split(".")[0]
                write(f"{HERE}/crds/{kind}-{group}-{version['name']}.json", schema)


kubernetes(sys.argv[1])
crds(sys.argv[2:])
