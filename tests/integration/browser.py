"""Chromium without a window, driven by its own driver: both Debian's packages. It needs no network
but our loopback, and asks nobody at its start."""
import base64
import contextlib
import os
import pathlib
import shutil
import tempfile

import servers

LIMIT_S = 30
HIGHEST = 8000  # of a picture, in pixels
FLAGS = ("--headless=new", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-default-apps", "--disable-dev-shm-usage",
         "--disable-extensions", "--disable-gpu", "--disable-sync", "--hide-scrollbars",
         "--metrics-recording-only", "--mute-audio", "--lang=en")


def is_there():
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One browser with one tab. As a context it starts, and ends with all that it wrote."""

    def __init__(self):
        self.folder = None
        self.driver = None
        self.scheme = "light"

    def __enter__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(tempfile.TemporaryDirectory(
                prefix="lb4-browser-", ignore_cleanup_errors=True))
            options = webdriver.ChromeOptions()
            options.binary_location = shutil.which("chromium")
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            # Its sandbox needs a user that is not root.
            for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []),
                         f"--user-data-dir={self.folder}"):
                options.add_argument(flag)
            self.driver = webdriver.Chrome(
                options=options, service=Service(shutil.which("chromedriver")))
            stack.callback(self.driver.quit)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def tell(self, command, **arguments):
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def look(self, width, height, scheme="light"):
        """The size of the window in CSS pixels, and which colours its user likes."""
        self.scheme = scheme
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)
        self.tell("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.driver.get(url)
        self.messages()

    def run(self, script, *arguments):
        """The body of a function of JavaScript; what it returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, name):
        """Of the element with this id, as it is read."""
        return self.run("return document.getElementById(arguments[0]).innerText", name).strip()

    def wait(self, script, *arguments, what=None):
        """Until it returns something true, which is returned."""
        found = []

        def look():
            found[:] = [self.run(script, *arguments)]
            return found[0]
        servers.wait_until(look, LIMIT_S, what or script)
        return found[0]

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def messages(self):
        """What the page has written to its console since the last time, and its errors."""
        return [entry for entry in self.driver.get_log("browser")
                if entry["level"] in ("SEVERE", "WARNING")]

    def shoot(self, path):
        """The whole page as a PNG: in a window that is high enough, as what is far from the window
        may not be drawn."""
        width = self.run("return innerWidth")
        for _ in range(2):
            height = self.run("return document.documentElement.scrollHeight")
            self.look(width, min(height, HIGHEST), self.scheme)
        picture = self.tell("Page.captureScreenshot", format="png")
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture["data"]))
