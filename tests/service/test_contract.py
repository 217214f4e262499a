import re
from html import escape

from index.search import filters
from service.contract import page

METHODS = {"get", "post", "put", "delete"}


def test_each_operation_tells_its_problems_as_problems(client):
    found = client.get("/openapi.json").json()
    operations = [(path, operation) for path, methods in found["paths"].items() for operation in methods.values()]
    assert len(operations) == 11
    for path, operation in operations:
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert "500" in failures, path
        for answer in failures.values():
            assert list(answer["content"]) == ["application/problem+json"]
    named = set(re.findall(r"#/components/schemas/(\w+)", client.get("/openapi.json").text))
    assert named <= set(found["components"]["schemas"])
    assert "HTTPValidationError" not in found["components"]["schemas"]


def test_bodies_are_described_with_their_fields(client):
    paths = client.get("/openapi.json").json()["paths"]
    forms = {
        path: paths[path][method]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        for path, method in (("/search", "post"), ("/embed", "post"), ("/items/{id}", "put"))
    }
    assert {path: set(fields) for path, fields in forms.items()} == {
        "/search": {"image", "k", "filter", "group_by", "exact", "ef"},
        "/embed": {"images"},
        "/items/{id}": {"image", "metadata"},
    }
    names = {parameter["name"] for parameter in paths["/search"]["post"]["parameters"]}
    assert names == {"k", "filter", "group_by", "exact", "ef"}
    assert {parameter["name"] for parameter in paths["/facets"]["get"]["parameters"]} == {"field", "limit", "filter"}
    assert {parameter["name"] for parameter in paths["/images/{id}"]["get"]["parameters"]} == {"id", "size"}


def test_filters_are_described_with_an_example_that_can_be_read(client):
    paths = client.get("/openapi.json").json()["paths"]
    form = paths["/search"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    parameters = [*paths["/search"]["post"]["parameters"], *paths["/facets"]["get"]["parameters"]]
    schemas = [form["filter"], *(parameter["schema"] for parameter in parameters if parameter["name"] == "filter")]
    assert len(schemas) == 3
    for schema in schemas:
        assert schema["anyOf"][0] == {"type": "string"}
        [example] = schema["examples"]
        assert filters.read(example)
    assert escape(example) in client.get("/docs").text


def test_a_problem_may_name_a_field(client):
    problem = client.get("/openapi.json").json()["components"]["schemas"]["ProblemOut"]
    assert set(problem["properties"]) - set(problem["required"]) == {"field"}


def test_answers_of_a_search_are_described_with_their_confidence(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]

    def types(schema, field):
        return {choice["type"] for choice in schemas[schema]["properties"][field]["anyOf"]}

    assert types("HitOut", "confidence") == {"number", "null"}
    assert types("SearchAnswer", "similar") == {"boolean", "null"}
    assert types("SearchAnswer", "message") == {"string", "null"}
    assert {"id", "score", "confidence", "metadata", "image_url"} == set(schemas["HitOut"]["required"])
    assert {"results", "similar", "message", "model", "index", "took_ms"} == set(schemas["SearchAnswer"]["required"])


def test_docs_list_every_operation_and_load_nothing(client):
    answer = client.get("/docs")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in answer.text
    assert re.findall(r'(?:src|href)="([^"]*)"', answer.text) == ["/openapi.json"]
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_docs_show_text_as_text():
    about = {"title": "<b>", "version": "1", "summary": "a < b"}
    operation = {"summary": "<script>", "responses": {"200": {"description": "<i>"}}}
    assert not re.search("<(b|script|i)>", page({"info": about, "paths": {"/": {"get": operation}}}))
