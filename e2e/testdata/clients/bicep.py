"""Prints a Bicep file as an ARM template: what the files that vauban writes use of the language, and no more.

The grammar is tree-sitter's: what does not parse, or is of another construct, ends the program. Usage: bicep.py FILE.
https://learn.microsoft.com/azure/azure-resource-manager/bicep/compare-template-syntax
"""
import json
import sys

import tree_sitter
import tree_sitter_bicep


def text(node):
    return node.text.decode()


def fail(node, why):
    sys.exit(f"{sys.argv[1]}:{node.start_point[0] + 1}: {why}: {text(node)[:80]!r}")


def children(node):
    return [c for c in node.named_children if c.type != "comment"]


def string(node):
    if any(c.type != "string_content" for c in node.named_children):
        fail(node, "a text with something in it")
    return "".join(text(c) for c in node.named_children)


def literal(s):
    """A text in an expression, or one that could be taken for an expression."""
    return "'" + s.replace("'", "''") + "'"


class Template:
    def __init__(self, root):
        self.parameters, self.resources, self.outputs = {}, {}, {}
        for node in children(root):
            parts = children(node)
            name = text(parts[0])
            if node.type == "parameter_declaration":
                self.parameters[name] = {"type": text(parts[1]), "defaultValue": self.value(parts[2])}
            elif node.type == "resource_declaration":
                self.resources[name] = self.resource(string(parts[1]), parts[2])
            elif node.type == "output_declaration":
                self.outputs[name] = {"type": text(parts[1]), "value": self.value(parts[2])}
            else:
                fail(node, f"{node.type} is not known")

    def resource(self, kind, body):
        kind, _, version = kind.partition("@")
        made = {"type": kind, "apiVersion": version}
        for p in children(body):
            key, value = children(p)
            if text(key) == "parent":
                parent = self.resources.get(text(value)) or fail(value, "no such resource")
                made["parent"] = parent
                made["dependsOn"] = [f"[{self.id(parent)}]"]
            else:
                made[text(key)] = self.value(value)
        if parent := made.pop("parent", None):
            made["name"] = parent["name"] + "/" + made["name"]
        return made

    def id(self, resource):
        names = ", ".join(literal(n) for n in resource["name"].split("/"))
        return f"resourceId('{resource['type']}', {names})"

    def value(self, node):
        kind = node.type
        if kind == "string":
            s = string(node)
            return "[" + s if s.startswith("[") else s
        if kind == "number":
            return int(text(node))
        if kind == "boolean":
            return text(node) == "true"
        if kind == "array":
            return [self.value(c) for c in children(node)]
        if kind == "object":
            return {text(k): self.value(v) for k, v in (children(p) for p in children(node))}
        if kind == "identifier" and text(node) in self.parameters:
            return f"[parameters('{text(node)}')]"
        if kind == "member_expression":
            of, member = children(node)
            if text(member) == "id" and text(of) in self.resources:
                return f"[{self.id(self.resources[text(of)])}]"
        return fail(node, f"{kind} is not known")


def main():
    with open(sys.argv[1], "rb") as f:
        source = f.read()
    root = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language())).parse(source).root_node
    if root.has_error:
        sys.exit(f"{sys.argv[1]} is no Bicep")
    t = Template(root)
    json.dump(
        {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "parameters": t.parameters,
            "resources": list(t.resources.values()),
            "outputs": t.outputs,
        },
        sys.stdout,
        indent=2,
    )


main()
