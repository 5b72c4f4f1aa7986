"""Every element of every proto says what it is, foreign wire contracts included (buf's COMMENTS rules skip those)."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

Element = tuple[str, str, tuple[int, ...]]
"""Kind, full name and path in the file's source info."""

# Field numbers of descriptor.proto, of which a source path is made.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM, MESSAGE_ONEOF = 2, 3, 4, 8
ENUM_VALUE, SERVICE_METHOD = 2, 2


def enum_elements(enum: EnumDescriptorProto, scope: str, path: tuple[int, ...]) -> Iterator[Element]:
    name = f"{scope}.{enum.name}"
    yield "enum", name, path
    for i, value in enumerate(enum.value):
        yield "value", f"{name}.{value.name}", (*path, ENUM_VALUE, i)


def message_elements(message: DescriptorProto, scope: str, path: tuple[int, ...]) -> Iterator[Element]:
    if message.options.map_entry:
        return
    name = f"{scope}.{message.name}"
    yield "message", name, path
    for i, field in enumerate(message.field):
        yield "field", f"{name}.{field.name}", (*path, MESSAGE_FIELD, i)
    synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
    for i, oneof in enumerate(message.oneof_decl):
        if i not in synthetic:
            yield "oneof", f"{name}.{oneof.name}", (*path, MESSAGE_ONEOF, i)
    for i, nested in enumerate(message.nested_type):
        yield from message_elements(nested, name, (*path, MESSAGE_NESTED, i))
    for i, enum in enumerate(message.enum_type):
        yield from enum_elements(enum, name, (*path, MESSAGE_ENUM, i))


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    for i, message in enumerate(file.message_type):
        yield from message_elements(message, file.package, (FILE_MESSAGE, i))
    for i, enum in enumerate(file.enum_type):
        yield from enum_elements(enum, file.package, (FILE_ENUM, i))
    for i, service in enumerate(file.service):
        yield "service", f"{file.package}.{service.name}", (FILE_SERVICE, i)
        for j, method in enumerate(service.method):
            yield "rpc", f"{file.package}.{service.name}.{method.name}", (FILE_SERVICE, i, SERVICE_METHOD, j)


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}


def test_every_element_has_a_comment_above_it(own: list[FileDescriptorProto]) -> None:
    bare = [
        f"{file.name}: {kind} {name}"
        for file in own
        for kind, name, path in elements(file)
        if not comments(file).get(path)
    ]
    assert bare == []


def test_a_comment_says_more_than_the_name_it_stands_above(own: list[FileDescriptorProto]) -> None:
    empty = [
        f"{file.name}: {kind} {name}"
        for file in own
        for kind, name, path in elements(file)
        if comments(file).get(path, "").strip(". ").lower().replace(" ", "_") == name.rsplit(".", 1)[1].lower()
    ]
    assert empty == []


def test_comments_of_rpcs_services_and_messages_of_quartet_begin_with_their_name(
    own: list[FileDescriptorProto],
) -> None:
    nameless = [
        f"{name}: {comments(file)[path].split()[:1]}"
        for file in own
        if file.package.startswith("quartet.") and ".storage." not in file.package
        for kind, name, path in elements(file)
        if kind in ("rpc", "service", "message", "enum") and not comments(file)[path].startswith(name.rsplit(".", 1)[1])
    ]
    assert nameless == []


def test_every_file_says_what_it_is_for(own: list[FileDescriptorProto]) -> None:
    package = (2,)
    assert [file.name for file in own if not comments(file).get(package)] == []
