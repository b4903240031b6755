"""The panel's pages, a module each; `web.app` gives them their addresses."""
