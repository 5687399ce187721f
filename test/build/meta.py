"""Checks the META.json of an unpacked archive against the PGXN meta specification, and against the archive.
Called by test/build/run with the archive's directory. Prints each offence; the exit status is the truth."""
import json
import os
import re
import sys

LICENSES = {"postgresql", "bsd", "mit", "apache_2_0"}
STATUSES = {"stable", "testing", "unstable"}
RESOURCES = {"homepage": str, "bugtracker": {"web", "mailto"}, "repository": {"url", "web", "type"}}


def offences(root):
    with open(os.path.join(root, "META.json"), encoding="utf-8") as file:
        meta = json.load(file)
    for key in ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"):
        if not meta.get(key):
            yield f"{key} is mandatory"
    for key in ("description", "release_status", "resources", "tags", "prereqs"):
        if not meta.get(key):
            yield f"{key} is missing"
    if not re.fullmatch(r"\d+\.\d+\.\d+", meta["version"]):
        yield f"version {meta['version']} is no semantic version"
    if meta["license"] not in LICENSES:
        yield f"license {meta['license']}"
    if meta["release_status"] not in STATUSES:
        yield f"release_status {meta['release_status']}"
    if meta["meta-spec"]["version"] != "1.0.0":
        yield "meta-spec is another one"
    if not all(0 < len(tag) < 256 for tag in meta["tags"]):
        yield "tags have 1 to 255 characters"
    for name, resource in RESOURCES.items():
        found = meta["resources"].get(name)
        if not found or not isinstance(resource, type) and not set(found) <= resource:
            yield f"resources.{name} is {found}"
    for name, what in meta["provides"].items():
        if not what.get("file") or what.get("version") != meta["version"]:
            yield f"provides.{name} is not complete"
        if not os.path.exists(os.path.join(root, what["docfile"])):
            yield f"{what['docfile']} is not in the archive"
    for directory in meta["no_index"]["directory"]:
        if not os.path.isdir(os.path.join(root, directory)):
            yield f"no_index.directory: {directory} is not in the archive"
    # A version without a date is not released.
    with open(os.path.join(root, "CHANGELOG.md"), encoding="utf-8") as file:
        is_released = re.search(r"^## \S+ \((.*)\)$", file.read(), re.MULTILINE)[1] != "unreleased"
    if (meta["release_status"] == "stable") != is_released:
        yield f"release_status is {meta['release_status']}, but CHANGELOG.md says that it is {'' if is_released else 'not '}released"


found = list(offences(sys.argv[1]))
print("\n".join(found))
sys.exit(bool(found))
