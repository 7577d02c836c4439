"use strict";
// The page is rendered by the server. This keeps it up to date with parts that
// the server has rendered as well, counts the time down in between, and runs the
// buttons. Texts are the server's too.
(() => {
	const EVERY = 2000, SLOWEST = 30000, PATIENCE = 45000;
	const texts = document.body.dataset;
	const find = (selector, inside = document) => inside.querySelector(selector);
	const rows = (inside = document) => [...inside.querySelectorAll("li[data-name]")];
	const link = find("#link"), announce = find("#announce");
	// Without credentials that the page's own address may have: fetch refuses
	// those.
	const address = location.origin + location.pathname;
	let receivedAt = performance.now(), pause = EVERY, timer, asking;

	const clock = (seconds) => {
		const s = Math.max(0, Math.floor(seconds)), two = (n) => String(n).padStart(2, "0");
		return Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
	};

	// The server's clock counts, not the browser's: it says what is left, and
	// how long ago it said so is measured here.
	const tick = () => {
		const passed = (performance.now() - receivedAt) / 1000;
		for (const row of rows()) {
			const bar = find("progress", row);
			if (!bar || !row.dataset.left) continue;
			const left = Math.max(0, row.dataset.left - passed);
			bar.value = left;
			find(".time b", row).textContent = clock(left);
		}
	};

	const localTimes = (inside) => {
		for (const time of inside.querySelectorAll("time")) {
			const at = new Date(time.dateTime);
			const near = Math.abs(at - Date.now()) < 12 * 3600e3;
			time.title = at.toLocaleString(document.documentElement.lang);
			time.textContent = at.toLocaleString(document.documentElement.lang, near ?
				{ hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false } :
				{ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
		}
	};

	const showButtons = (inside) => {
		for (const button of inside.querySelectorAll("[data-do=ask]")) button.hidden = false;
	};

	const remember = (inside) => {
		for (const part of inside.querySelectorAll("[data-part]")) part.rendered = part.innerHTML;
	};

	// Replaces what has changed and nothing else, so that focus, selection and a
	// question that is open stay.
	const update = (old, fresh) => {
		const parts = [...fresh.querySelectorAll("[data-part]")];
		[...old.querySelectorAll("[data-part]")].forEach((part, i) => {
			if (part.rendered === parts[i].innerHTML) return;
			part.rendered = parts[i].innerHTML;
			part.replaceChildren(...parts[i].childNodes);
			localTimes(part);
		});
		old.className = fresh.className;
		if (!fresh.dataset.left) delete old.dataset.left;
		Object.assign(old.dataset, fresh.dataset);
	};

	const apply = (html) => {
		const fresh = find("main", new DOMParser().parseFromString(html, "text/html"));
		if (!fresh) throw new Error("no status");
		document.title = fresh.dataset.title;
		find("link[rel=icon]").href = fresh.dataset.icon;
		const changes = [], known = new Map(rows().map((row) => [row.dataset.name, row]));
		const freshHeader = find("header", fresh);
		let previous = null;
		for (const row of rows(fresh)) {
			let shown = known.get(row.dataset.name);
			known.delete(row.dataset.name);
			if (shown && shown.dataset.word !== row.dataset.word) changes.push(row.dataset.name + ": " + row.dataset.word);
			if (shown) {
				update(shown, row);
			} else {
				shown = document.importNode(row, true);
				remember(shown);
				localTimes(shown);
				showButtons(shown);
				if (previous) previous.after(shown); else find("ul").prepend(shown);
			}
			previous = shown;
		}
		for (const row of known.values()) row.remove();
		update(find("header"), freshHeader);
		if (changes.length) announce.textContent = changes.join(", ");
		receivedAt = performance.now();
		tick();
	};

	const say = (name, text) => {
		link.className = "link " + name;
		if (link.textContent !== text) link.textContent = text;
	};

	const poll = async () => {
		clearTimeout(timer);
		if (document.hidden || asking) return;
		asking = true;
		try {
			const res = await fetch(address + "?format=part", { cache: "no-store", signal: AbortSignal.timeout(10000) });
			if (res.status === 401 || res.status === 403) {
				say("lost", texts.refused);
				pause = SLOWEST;
			} else {
				if (!res.ok) throw new Error(res.status);
				apply(await res.text());
				say("live", texts.live);
				pause = EVERY;
			}
		} catch {
			say("lost", texts.offline);
			pause = Math.min(SLOWEST, pause * 2);
		}
		asking = false;
		clearTimeout(timer);
		if (!document.hidden) timer = setTimeout(poll, pause);
	};

	const open = (row, is) => {
		find(".confirm", row).hidden = !is;
		find("[data-do=ask]", row).hidden = is;
		find(is ? "[data-do=go]" : "[data-do=ask]", row).focus();
	};

	const refresh = async (row) => {
		const ask = find("[data-do=ask]", row), result = find("output", row);
		open(row, false);
		ask.disabled = true;
		result.className = "";
		result.textContent = texts.running;
		let ok = false, text = texts.unknown;
		try {
			const res = await fetch(address, {
				method: "POST",
				headers: { "Content-Type": "application/json", "X-Weixin-Status": texts.token },
				body: JSON.stringify({ account: row.dataset.name }),
				signal: AbortSignal.timeout(PATIENCE),
			});
			ok = res.ok;
			text = (await res.json()).message;
		} catch {
			ok = false;
		}
		ask.disabled = false;
		ask.focus();
		result.className = ok ? "" : "failed";
		result.textContent = text;
		poll();
	};

	document.addEventListener("click", (event) => {
		const button = event.target.closest("button[data-do]");
		if (!button) return;
		const row = button.closest("li");
		if (button.dataset.do === "go") refresh(row); else open(row, button.dataset.do === "ask");
	});
	document.addEventListener("keydown", (event) => {
		const question = event.target.closest(".confirm");
		if (event.key === "Escape" && question) open(question.closest("li"), false);
	});
	document.addEventListener("visibilitychange", () => {
		if (document.hidden) {
			clearTimeout(timer);
			say("", texts.paused);
		} else {
			poll();
		}
	});

	remember(document);
	localTimes(document);
	showButtons(document);
	setInterval(tick, 1000);
	say("live", texts.live);
	timer = setTimeout(poll, EVERY);
})();
