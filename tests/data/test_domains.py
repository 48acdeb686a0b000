"""Domains as users write them, in three kinds of file, and what cannot be a domain."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from lvm_fast.data.domains import DOMAINS, check_domain_source, number_domains, read_domains

CHAINS = ["a", "b", "c"]


def written(path, labels):
    """Write the labels of chains in the form that the name of the file says."""
    if path.name.endswith(".json"):
        path.write_text(json.dumps(labels))
    elif path.name.endswith(".csv"):
        path.write_text("note,id,domain\n" + "".join(f'"x, y",{name},{label}\n' for name, label in labels.items()))
    else:
        lines = "".join(json.dumps({"id": name, "domain": label, "note": 1}) + "\n" for name, label in labels.items())
        path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return str(path)


def numbers(path, chains=CHAINS, count=16):
    return number_domains(read_domains(path), chains, count, "domains").tolist()


FORMS = ["d.json", "d.jsonl", "d.jsonl.gz", "d.csv"]


@pytest.fixture(params=FORMS)
def place(request, tmp_path):
    return tmp_path / request.param


def test_the_names_are_the_reference_s():
    assert len(set(DOMAINS)) == 16
    assert (DOMAINS[0], DOMAINS[8], DOMAINS[15]) == ("Science", "Literature", "Software")


def test_numbers_and_names_are_read_from_every_form(place):
    labels = {"a": 15, "other": "3", "b": "Mathematics", "c": " 0"}
    assert numbers(written(place, labels)) == [15, 1, 0]
    assert numbers(written(place, labels), ["other", "c"]) == [3, 0]


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (16, r"chain 'b': domain = '?16'?; expected 0 to 15, or a name such as 'Science'"),
        (-1, r"chain 'b': domain = '?-1'?; expected 0 to 15"),
        (1.5, r"chain 'b': (domain = 1.5; expected 0 to 15|unknown domain '1.5')"),
        (True, r"chain 'b': (domain = True; expected 0 to 15|unknown domain 'True')"),
        ("Sciense", r"chain 'b': unknown domain 'Sciense'; did you mean 'Science'\? There are: Science, Mathematics"),
        ("softwear", r"chain 'b': unknown domain 'softwear'; did you mean 'Software'"),
    ],
)
def test_what_is_no_domain_names_the_chain_and_the_nearest(place, domain, message):
    for extra in ({}, {"a": 1}):  # also where the chain is not asked for
        path = written(place, {**extra, "b": domain})
        with pytest.raises(ValueError, match=re.escape(path) + ".*" + message):
            numbers(path, list(extra))


def test_a_name_beyond_the_experts_is_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="chain 'a': domain = 'Software'; expected 0 to 3"):
        numbers(written(tmp_path / "d.json", {"a": "Software"}), ["a"], 4)


def test_a_chain_without_a_domain_is_named_and_a_misspelled_one_guessed(place):
    with pytest.raises(ValueError, match="domains: no domain for chain 'b' and 1 more; expected one a chain"):
        numbers(written(place, {"a": 1}))
    message = (
        r"no domain for chain '1790_washington' \(there is one for '1790_washingtn', which is no chain of the data\)"
    )
    with pytest.raises(ValueError, match=message):
        numbers(written(place, {"1790_washingtn": 1}), ["1790_washington"])


def test_a_chain_twice_is_refused(tmp_path):
    texts = {
        "d.json": '{"a": 1, "a": 2}',
        "d.jsonl": '{"id": "a", "domain": 1}\n{"id": "a", "domain": 1}\n',
        "d.csv": "id,domain\na,1\na,1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        said = "the key 'a' stands twice" if name == "d.json" else "chain 'a' again; expected one domain a chain"
        with pytest.raises(ValueError, match=rf"{name}.*{said}"):
            read_domains(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.json", "[1, 2]", "a JSON list; expected an object of chain ids and domains"),
        ("d.json", "{", "no valid JSON in UTF-8"),
        ("d.json", '{"a": {"b": 1}}', "chain 'a': domain = .*; expected 0 to 15"),
        ("d.jsonl", '{"id": "a"}', "line 1: no \"domain\" for chain 'a'"),
        ("d.jsonl", '{"domain": 1}', 'line 1: "id" is None; expected a string'),
        ("d.csv", "id,label\na,1\n", r"columns \['id', 'label'\]; expected 'id' and 'domain' once each"),
        ("d.csv", "id,id,domain\na,b,1\n", r"columns \['id', 'id', 'domain'\]; expected 'id' and 'domain' once each"),
        ("d.csv", "", "columns None; expected 'id' and 'domain'"),
        ("d.csv", "id,domain\na\n", "line 2 has too few columns"),
        ("d.csv", 'id,domain\n"a,1\n', "no table in UTF-8"),
        ("d.csv", "id,domain\n\udcff,1\n", "no table in UTF-8"),
    ],
)
def test_files_of_another_form_are_told(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=rf"{name}.*{message}"):
        numbers(str(tmp_path / name), [])


def test_sources_are_known_by_name_or_by_the_end_of_a_file():
    for name in ("clusters", "metadata", *FORMS, "far/away.csv"):
        check_domain_source(name)
    with pytest.raises(ValueError, match=r"unknown source of domains 'cluster'; did you mean 'clusters'"):
        check_domain_source("cluster")
    with pytest.raises(ValueError, match=r"unknown source of domains 'd.txt'; .*metadata, a file \*.json"):
        check_domain_source("d.txt")
