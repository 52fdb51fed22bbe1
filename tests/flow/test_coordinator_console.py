"""The operators' page: one link, one browser, nothing to change, nothing from elsewhere."""

import asyncio
import re
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

import pytest

from tests.fakes.federation import a_federation

pytestmark = pytest.mark.flow


def test_the_link_opens_the_fleet_once_and_for_one_browser(tmp_path):
    async def story():
        async with a_federation(tmp_path, "[console]\nport = 0\n") as federation:
            await federation.enrolled("alpha")
            link = federation.coordinator.addresses()["console"]
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
            page = re.sub(r"/enter.*", "/", link)

            opened = await asyncio.to_thread(lambda: browser.open(link, timeout=5))
            again = await asyncio.to_thread(lambda: browser.open(page, timeout=5).status)

            text = opened.read().decode()
            assert "alpha" in text
            assert "<script" not in text
            assert "default-src 'none'" in opened.headers["Content-Security-Policy"]
            assert again == 200
            for other in (link, page, f"{page}static/console.css"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    await asyncio.to_thread(urllib.request.urlopen, other, timeout=5)

    asyncio.run(story())


def test_a_page_of_another_name_is_turned_away(tmp_path):
    async def story():
        async with a_federation(tmp_path, "[console]\nport = 0\n") as federation:
            link = federation.coordinator.addresses()["console"]
            rebound = urllib.request.Request(link, headers={"Host": "evil.example"})

            with pytest.raises(urllib.error.HTTPError, match="400"):
                await asyncio.to_thread(urllib.request.urlopen, rebound, timeout=5)

    asyncio.run(story())
