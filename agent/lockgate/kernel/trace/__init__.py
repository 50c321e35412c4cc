"""An independent witness of who connects to a datastore's ports: nothing in it is shared with the hooks it watches."""
