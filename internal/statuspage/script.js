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

	// Brings the rows into order. While somebody is asked something nothing moves,
	// and never the row that has the focus, which would lose it.
	const arrange = (order) => {
		if (find(".confirm:not([hidden])")) return;
		const fixed = Math.max(0, order.findIndex((row) => row.contains(document.activeElement)));
		for (let i = fixed - 1; i >= 0; i--) {
			if (order[i].nextElementSibling !== order[i + 1]) order[i + 1].before(order[i]);
		}
		for (let i = fixed + 1; i < order.length; i++) {
			if (order[i - 1].nextElementSibling !== order[i]) order[i - 1].after(order[i]);
		}
	};

	const plain = (text) => text.normalize("NFKC").toLowerCase().trim();

	// What is looked for is in the address, where a reload finds it, and so does
	// whom the address is sent to.
	const wanted = new URLSearchParams(location.search);

	// Hides the rows that are not looked for. One in which somebody is at work
	// stays.
	const filter = () => {
		const form = find(".filter"), all = rows();
		const name = form ? plain(wanted.get("name") || "") : "", state = form && wanted.get("state") || "";
		let shown = 0;
		for (const row of all) {
			const is = (!name || plain(row.dataset.name).includes(name) || plain(row.dataset.id).includes(name)) &&
				(!state || (state === "attention" ? row.matches(".warn, .bad") : row.dataset.state === state));
			row.hidden = !is && !row.contains(document.activeElement);
			if (!row.hidden) shown++;
		}
		if (!form) return;
		for (const field of form.querySelectorAll("[data-filter]")) {
			if (field !== document.activeElement) field.value = wanted.get(field.dataset.filter) || "";
		}
		form.hidden = false;
		const count = find(".shown", form), number = (n) => n.toLocaleString(document.documentElement.lang);
		const text = name || state ? count.dataset.text.replace("{shown}", number(shown)).replace("{all}", number(all.length)) : "";
		if (count.textContent !== text) count.textContent = text;
	};

	const want = (field, value) => {
		if (value) wanted.set(field, value); else wanted.delete(field);
		const query = wanted.toString();
		history.replaceState(null, "", location.pathname + (query && "?" + query) + location.hash);
	};

	const apply = (html) => {
		const fresh = find("main", new DOMParser().parseFromString(html, "text/html"));
		if (!fresh) throw new Error("no status");
		document.title = fresh.dataset.title;
		find("link[rel=icon]").href = fresh.dataset.icon;
		const changes = [], known = new Map(rows().map((row) => [row.dataset.name, row])), order = [];
		const freshHeader = find("header", fresh), freshFilter = find(".filter", fresh);
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
				find("ul").append(shown);
			}
			order.push(shown);
		}
		for (const row of known.values()) row.remove();
		update(find("header"), freshHeader);
		arrange(order);
		if (!freshFilter) find(".filter")?.remove();
		else if (!find(".filter")) find("ul").before(document.importNode(freshFilter, true));
		filter();
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

	document.addEventListener("input", (event) => {
		const field = event.target.closest("[data-filter]");
		if (!field) return;
		want(field.dataset.filter, field.value);
		filter();
	});
	document.addEventListener("click", (event) => {
		const link = event.target.closest(".headline a");
		const target = link && document.getElementById(decodeURIComponent(link.hash.slice(1)));
		if (target?.hidden) {
			want("name", "");
			want("state", "");
			filter();
		}
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
	filter();
	setInterval(tick, 1000);
	say("live", texts.live);
	timer = setTimeout(poll, EVERY);
})();
