// What people who see little, print, or use the keyboard alone could not read or reach: found by computed styles.
async () => {
  const found = {contrast: [], ids: [], headings: [], pictures: [], names: [], targets: [], unreachable: []};
  document.querySelectorAll("details").forEach(one => one.open = true);
  document.querySelectorAll("[data-turn]").forEach(one => one.hidden = false);
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)));  // observers of sizes have been told
  const parsed = colour => {
    const [r, g, b, alpha = 1] = (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return [r, g, b, alpha];
  };
  const over = (top, under) => [0, 1, 2].map(at => top[at] * top[3] + under[at] * (1 - top[3]));
  const faded = (colour, by) => [...colour.slice(0, 3), (colour[3] ?? 1) * by];
  const luminance = colour => {
    const [r, g, b] = colour.map(value => value / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = element => {
    const around = [];
    for (let one = element; one; one = one.parentElement) around.unshift(one);
    return around.reduce((under, one) => over(parsed(getComputedStyle(one).backgroundColor), under), [255, 255, 255]);
  };
  const check = (colour, under, least, what) => {
    const seen = ratio(colour, under);
    if (seen < least) found.contrast.push(`${seen.toFixed(2)} < ${least}: ${what}`);
  };
  const checked = [0, 0];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement;
    if (!text.data.trim() || element.closest("script, style, svg") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), under = ground(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    check(over(parsed(style.color), under), under, large ? 3 : 4.5, `${element.tagName} ${text.data.trim().slice(0, 40)}`);
    checked[0]++;
  }
  document.querySelectorAll("svg").forEach(svg => {
    const paper = ground(svg.parentElement), cells = [...svg.querySelectorAll("rect")].map(one => [one.getBBox(), getComputedStyle(one).fill]);
    svg.querySelectorAll("text").forEach(text => {
      const {x, y, width, height} = text.getBBox();
      const under = cells.reduce((below, [box, fill]) => fill !== "none" && box.x <= x + width / 2 && x + width / 2 <= box.x + box.width
        && box.y <= y + height / 2 && y + height / 2 <= box.y + box.height ? over(parsed(fill), below) : below, paper);
      check(over(parsed(getComputedStyle(text).fill), under), under, 4.5, `chart ${text.textContent.slice(0, 40)}`);
      checked[0]++;
    });
    svg.querySelectorAll("circle, .mean, .interval, .outline, .axis, .zero, .target").forEach(mark => {
      const style = getComputedStyle(mark), colour = style.stroke === "none" ? style.fill : style.stroke;
      check(over(faded(parsed(colour), Number(style.opacity)), paper), paper, 3, `mark ${mark.getAttribute("class")}`);
      checked[1]++;
    });
    if (!svg.getAttribute("aria-label") && !svg.closest("[aria-hidden=true]")) found.pictures.push("a chart without words");
  });
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
  found.ids = ids.filter((id, at) => ids.indexOf(id) !== at);
  [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].reduce((last, one) => {
    const level = Number(one.tagName[1]);
    if (level > last + 1) found.headings.push(one.textContent);
    return level;
  }, 0);
  document.querySelectorAll("img").forEach(one => { if (!one.alt || !one.naturalWidth) found.pictures.push(one.outerHTML.slice(0, 80)); });
  document.querySelectorAll("button, select, input, summary, a").forEach(one => {
    const words = one.getAttribute("aria-label") || one.textContent.trim() || [...one.labels || []].map(label => label.textContent).join("");
    if (!words.trim() || one.tabIndex < 0) found.names.push(one.outerHTML.slice(0, 80));
  });
  ["href", "for", "aria-labelledby", "aria-describedby"].forEach(kind => document.querySelectorAll(`[${kind}]`).forEach(one => {
    if (!document.getElementById(one.getAttribute(kind).replace(/^#/, ""))) found.targets.push(one.outerHTML.slice(0, 80));
  }));
  document.querySelectorAll(".scroll, pre").forEach(one => {
    if (one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0) found.unreachable.push(one.innerHTML.slice(0, 80));
  });
  if (document.documentElement.scrollWidth > innerWidth) found.unreachable.push("the page is wider than the window");
  return {...found, checked};
}
