"""Headless Chromium for tests: what a function finds in a page, and what the browser says meanwhile."""

import json
import re
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
]

# What a probe finds goes into this element, which --dump-dom prints.
RESULT = "probe-result"


def probe(page, script, width, folder, state=""):
    """Run the body of an async function in the page; return its result and Chromium's log.

    ``state`` is what stands after the # of the address.
    """
    probed = folder / "probed.html"
    end = f"""<script>window.addEventListener("load", async () => {{
      let found;
      try {{ found = await (async () => {{ {script} }})(); }} catch (error) {{ found = String(error); }}
      const element = document.createElement("pre");
      element.id = "{RESULT}";
      element.textContent = JSON.stringify(found);
      document.body.append(element);
    }});</script></body>"""
    probed.write_text(page.read_text().replace("</body>", end))
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},2000",
            "--dump-dom",
            probed.as_uri() + state,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (found,) = re.findall(rf'<pre id="{RESULT}">(.*?)</pre>', done.stdout, re.DOTALL)
    return json.loads(found.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")), done.stderr
