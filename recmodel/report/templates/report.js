const { config, charts } = JSON.parse(document.getElementById("charts").textContent);
const options = {
    mode: "vega-lite",
    renderer: "svg", // its colours can be CSS variables
    actions: false,
    ast: true, // an interpreter for Vega's expressions, since the page allows no eval
    defaultStyle: false,
    config,
};
Object.entries(charts).forEach(([name, spec]) => vegaEmbed(document.getElementById(`chart-${name}`), spec, options));
