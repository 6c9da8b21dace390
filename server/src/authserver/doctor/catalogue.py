"""Every code there is; the page ``docs/doctor.md`` is made of it."""

from authserver.doctor.codes import Code
from authserver.doctor.resource_codes import RESOURCE_CODES
from authserver.doctor.server_codes import SERVER_CODES

CODES: dict[str, Code] = {
    name: Code(name, layer, severity, meaning, change)
    for table in (RESOURCE_CODES, SERVER_CODES)
    for layer, entries in table.items()
    for name, severity, meaning, change in entries
}
