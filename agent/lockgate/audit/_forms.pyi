from lockgate.audit.forms import Form as Form
from lockgate.audit.segment import encode_frame as framed

__all__ = ["Form", "framed"]
