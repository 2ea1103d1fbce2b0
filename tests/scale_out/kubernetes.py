"""Checks contrib/kubernetes against Kubernetes' own schemas. Run by scripts/scale-out."""

import sys

import kubernetes_validate
import yaml

failed = 0
version = kubernetes_validate.latest_version()
for path in sys.argv[1:]:
    with open(path) as file:
        for document in yaml.safe_load_all(file):
            name = "%s %s of %s" % (document["kind"], document["metadata"]["name"], path)
            try:
                kubernetes_validate.validate(document, version.rsplit(".", 1)[0], strict=True)
                print("ok", name)
            except kubernetes_validate.ValidationError as error:
                failed += 1
                print("not ok %s: %s at %s" % (name, error.message, ".".join(map(str, error.path))))
sys.exit(failed > 0)
